"""Coming back from nothing: an error is not absence, and nothing in a store is believed before it proved itself."""

from __future__ import annotations

from tests.defences.defence import defence
from tests.defences.removal import Edit

REBUILD = "tests/rebuild/test_rebuild_catalog.py"
ALONE = "tests/rebuild/test_from_target.py"
PLATFORM = "tests/rebuild/test_platform_backup.py"
TRUST = "tests/rebuild/test_platform_backup_trust.py"
BACKUPS = "backup_platform.rebuilding.platform_backup"
ROOM = "backup_platform.rebuilding"

ROWS = (
    defence(
        "rebuild-list-error-is-not-empty",
        "law 7",
        "A listing that breaks off ends a rebuild before it began.",
        Edit(
            f"{ROOM}.survey:survey",
            'raise RebuildRefused(\n            f"The store could not be listed',
            'str(\n            f"The store could not be listed',
            ((") from None", ")"),),
        ),
        f"{REBUILD}::test_listing_that_breaks_off_ends_the_rebuild_before_it_began[0]",
        f"{REBUILD}::test_listing_that_breaks_off_ends_the_rebuild_before_it_began[5]",
    ),
    defence(
        "rebuild-empty-only",
        "law 7",
        "A catalogue is rebuilt into an empty database only.",
        Edit(f"{ROOM}.beginning:check_may_begin", "if not found:", "if True:"),
        f"{REBUILD}::test_database_that_is_not_empty_is_refused",
    ),
    defence(
        "rebuild-pack-is-its-name",
        "law 2",
        "A pack whose header names another vault or id is not used.",
        Edit(
            f"{ROOM}.packs:_check_header",
            "if (header.vault_id, header.pack_uid) != (vault_id.bytes, uid.bytes):",
            "if False:",
        ),
        f"{REBUILD}::test_pack_under_another_packs_name_is_not_used",
    ),
    defence(
        "rebuild-rereads-records",
        "law 2",
        "A record gets into the rebuilt index only if its bytes were read and matched.",
        Edit(f"{ROOM}.packs:_read_through", "if _agrees(data, entry):", "if True:"),
        f"{REBUILD}::test_rotten_record_does_not_get_into_the_index",
    ),
    defence(
        "rebuild-references-against-statement",
        "law 2",
        "A list of reference blocks counts only if the statement names its hash.",
        (
            Edit(
                f"{ROOM}.snapshots:MachineSnapshots._objects",
                "elif blake3(listed.blocks).digest() != found.statement.blocks_hash:",
                "elif False:",
            ),
            Edit(
                "backup_platform.catalog.completion:_look_up", "if not _lists_what_was_signed(snapshot):", "if False:"
            ),
        ),
        f"{REBUILD}::test_snapshot_whose_reference_list_is_lost_or_another_is_never_called_good",
    ),
    defence(
        "completion-needs-the-signed-list",
        "law 2",
        "A snapshot whose list of blocks is not the signed one is never called good, however little it needs.",
        Edit("backup_platform.catalog.completion:_look_up", "if not _lists_what_was_signed(snapshot):", "if False:"),
        f"{REBUILD}::test_snapshot_whose_reference_list_is_lost_or_another_is_never_called_good",
    ),
    defence(
        "rebuild-machine-record-binding",
        "statement",
        "A machine record that names another machine than its key is not used.",
        Edit(
            f"{ROOM}.owners:make_machine",
            "if (said.vault_id, said.machine_id) != (vault.pk.bytes, machine_id.bytes):",
            "if False:",
        ),
        f"{REBUILD}::test_record_of_another_machine_is_not_used",
    ),
    defence(
        "alone-list-error-is-not-empty",
        "law 7",
        "Without a server too, a folder that cannot be listed is an error and not an empty one.",
        Edit("agents.from_target.directory:DirectoryStore._scan", "except Gone:", "except (Gone, Unreachable):"),
        f"{ALONE}::test_listing_that_fails_is_not_an_empty_store",
    ),
    defence(
        "alone-pack-is-its-name",
        "statement",
        "Without a server too, a pack whose header names another one is not used.",
        Edit(
            "agents.from_target.pack_index:PackIndex._check_header",
            "if header.vault_id != self._vault_id or header.pack_uid.hex() != name:",
            "if False:",
        ),
        f"{ALONE}::test_pack_under_another_packs_name_is_refused",
    ),
    defence(
        "alone-root-against-statement",
        "statement",
        "Without a server too, a root counts only if the statement names its hash.",
        (
            Edit(
                "agents.engine.reading:SnapshotReader.open",
                "if blake3(file).digest() != statement.root_hash:",
                "if False:",
                (
                    ("if blake3(said.blocks).digest() != statement.blocks_hash:", "if False:"),
                    ("self._check_header(file, statement)", "pass"),
                ),
            ),
        ),
        f"{ALONE}::test_root_of_another_snapshot_is_refused",
    ),
    defence(
        "alone-machine-record-binding",
        "statement",
        "Without a server too, the record of another machine vouches for no statement.",
        Edit(
            "agents.keys.statement:verify_statement",
            "if (statement.vault_id, statement.machine_id) != (vault_id, machine_id):",
            "if False:",
        ),
        f"{ALONE}::test_record_of_another_machine_vouches_for_no_statement",
    ),
    defence(
        "platform-backup-pieces-in-order",
        "secrecy",
        "The pieces of a platform's backup open in their order and to the last one only.",
        Edit(
            f"{ROOM}.platform_backup.envelope:_cipher",
            'nonce = number.to_bytes(11, "big") + bytes((last,))',
            "nonce = bytes(12)",
        ),
        f"{PLATFORM}::test_sealed_file_that_was_changed_cut_or_reordered_does_not_open",
    ),
    defence(
        "platform-backup-signer-is-known",
        "secrecy",
        "A platform's backup is taken only if a key that the operator keeps signed it.",
        Edit(
            f"{BACKUPS}.trust:judge",
            "if head.signature.signer not in demands.signers:",
            "if False:",
            (("demands.signers[head.signature.signer]", "0"),),
        ),
        f"{TRUST}::test_a_forged_newer_backup_is_refused_and_the_genuine_one_is_named",
    ),
    defence(
        "platform-backup-signature-matches",
        "secrecy",
        "A genuine signature vouches for no other key than the one that it was made over.",
        Edit(f"{BACKUPS}.trust:judge", "if not head.signature.matches():", "if False:"),
        f"{TRUST}::test_a_forged_backup_under_a_genuine_signature_is_refused",
    ),
    defence(
        "platform-backup-unsigned-refused",
        "secrecy",
        "A platform's backup that is not signed is taken only by who says so.",
        Edit(f"{BACKUPS}.trust:_unsigned", "if not demands.unverified:", "if False:"),
        f"{TRUST}::test_an_unsigned_backup_is_taken_only_by_who_says_so",
    ),
    defence(
        "platform-backup-newest-by-number",
        "secrecy",
        "An older backup of a platform under a newer name is not taken for the newest.",
        Edit(f"{BACKUPS}.choosing:newest", "if best is None or best.key == keys[-1]:", "if True:"),
        f"{TRUST}::test_an_older_genuine_backup_does_not_pass_for_the_newest",
    ),
    defence(
        "platform-backup-at-least",
        "secrecy",
        "A backup with a lower number than the operator asks for is refused.",
        Edit(f"{BACKUPS}.trust:_refuse_lower", "if said.number < demands.at_least:", "if False:"),
        f"{TRUST}::test_an_older_genuine_backup_does_not_pass_for_the_newest",
    ),
    defence(
        "platform-backup-numbers-leap",
        "secrecy",
        "A platform that came back gives no number twice.",
        Edit(f"{BACKUPS}.chain:go_on_after", "head.said.number + LEAP", "head.said.number"),
        f"{TRUST}::test_a_restored_platform_signs_on_and_gives_no_number_twice",
    ),
    defence(
        "platform-backup-key-of-nobody",
        "secrecy",
        "A signing key from a backup that nobody vouches for does not become the platform's.",
        Edit(f"{BACKUPS}.restoring:_own_signing_key", "not made.verdict.proven or ", ""),
        f"{TRUST}::test_a_signing_key_that_nobody_vouched_for_is_not_taken_over",
    ),
    defence(
        "platform-signing-key-audited",
        "law 9",
        "Another key that signs the platform's backups leaves a line that names the former one too.",
        Edit(f"{BACKUPS}.signing_key:_keep", "before=_former()", "before=None"),
        f"{TRUST}::test_after_a_replacement_only_the_new_key_signs_and_leaves_a_line",
    ),
    defence(
        "platform-backup-whole-head-signed",
        "secrecy",
        "The signature of a platform's backup covers every byte of its head.",
        Edit(
            f"{BACKUPS}.head:Signature.matches",
            "return signature_matches(self.spki, self.message, self.signature)",
            "return True",
        ),
        "tests/rebuild/test_platform_backup_vectors.py::test_no_byte_of_a_signed_head_can_be_changed",
    ),
)
