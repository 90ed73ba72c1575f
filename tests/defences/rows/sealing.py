"""Chunks and roots: what their seals bind, and what is checked when they are opened."""

from __future__ import annotations

from tests.defences.defence import defence
from tests.defences.removal import Edit, Swap

CHUNKS = "tests/sealing/test_chunks.py"
ROOTS = "tests/sealing/test_roots.py"
CODECS = "tests/sealing/test_codecs.py"
AAD = "protocol.stored.chunks:chunk_aad"
OPEN = "agents.engine.sealing:ChunkSealer.open"
BOUND = f"{CHUNKS}::test_every_field_of_the_associated_data_is_bound_by_itself"

ROWS = (
    defence(
        "chunk-aad-version",
        "chunk",
        "The version byte is bound by the seal.",
        Edit(AAD, "bytes((version, codec))", "bytes((1, codec))"),
        f"{BOUND}[version]",
    ),
    defence(
        "chunk-aad-codec",
        "chunk",
        "The codec byte is bound by the seal.",
        Edit(AAD, "bytes((version, codec))", "bytes((version, 0))"),
        f"{BOUND}[codec]",
    ),
    defence(
        "chunk-aad-vault",
        "chunk",
        "The vault is bound by the seal.",
        Edit(AAD, "+ vault_id +", "+ bytes(16) +"),
        f"{BOUND}[vault id]",
        f"{CHUNKS}::test_a_chunk_does_not_open_in_another_vault_or_epoch[vault id]",
    ),
    defence(
        "chunk-aad-epoch",
        "chunk",
        "The key epoch is bound by the seal.",
        Edit(AAD, 'epoch.to_bytes(4, "big")', "bytes(4)"),
        f"{BOUND}[epoch]",
        f"{CHUNKS}::test_a_chunk_does_not_open_in_another_vault_or_epoch[epoch]",
    ),
    defence(
        "chunk-aad-id",
        "chunk",
        "The chunk's id is bound by the seal.",
        Edit(AAD, "+ chunk_id", "+ bytes(32)"),
        f"{BOUND}[chunk id]",
    ),
    defence(
        "chunk-id-of-content",
        "chunk",
        "An id that is not its content's is refused before anything is opened.",
        Edit(OPEN, "if not hmac.compare_digest(self.chunk_id(h), chunk_id):", "if False:"),
        f"{CHUNKS}::test_a_chunk_sealed_under_an_id_that_is_not_its_contents_is_refused",
    ),
    defence(
        "chunk-hash-after-opening",
        "chunk",
        "`h` is checked again after opening: who holds every key of the vault still cannot pass rubbish off.",
        Edit(OPEN, "if not hmac.compare_digest(blake3(plaintext).digest(), h):", "if False:"),
        f"{CHUNKS}::test_what_a_hostile_machine_of_the_vault_sealed_under_a_wrong_id_is_refused",
    ),
    defence(
        "chunk-fresh-nonce",
        "chunk",
        "Every seal has a nonce of its own.",
        Edit("agents.engine.sealing:ChunkSealer.seal", "self._nonces(ciphers.NONCE_SIZE)", "bytes(ciphers.NONCE_SIZE)"),
        f"{CHUNKS}::test_every_nonce_is_used_once",
    ),
    defence(
        "chunk-keys-differ-by-use",
        "chunk",
        "Every use of the dedup secret has a key of its own.",
        Edit("agents.keys.derive:derive", "{use.value}", "any"),
        "tests/keys/test_derive.py::test_every_use_has_a_key_of_its_own",
    ),
    defence(
        "opening-bounded-claim",
        "chunk",
        "A frame that claims more than a chunk is refused before anything is unpacked.",
        Edit(
            "agents.engine.codecs:_claimed_size",
            "if parameters.content_size > limit or parameters.window_size > MAX_WINDOW:",
            "if False:",
        ),
        f"{CODECS}::test_one_byte_more_than_a_chunk_is_refused",
        f"{CODECS}::test_a_window_larger_than_any_chunk_is_refused_before_it_is_allocated",
    ),
    defence(
        "opening-bounded-stream",
        "chunk",
        "A frame is read as a stream with a limit, so that a lie about its size costs no memory.",
        Edit("agents.engine.codecs:decompress", "reader.read(claimed + 1)", "reader.read(16 * limit)"),
        f"{CODECS}::test_a_frame_that_becomes_more_than_it_claims_is_refused_without_the_memory",
    ),
    defence(
        "opening-stored-bounded",
        "chunk",
        "A stored body above a chunk's size is refused.",
        Edit("agents.engine.sealing:ChunkSealer._decode", "if len(body) > MAX_CHUNK_PLAIN:", "if False:"),
        f"{CHUNKS}::test_a_stored_chunk_above_the_limit_is_refused",
    ),
    defence(
        "opening-one-frame",
        "chunk",
        "Exactly one frame: nothing hides behind it.",
        Edit("agents.engine.codecs:decompress", "if _frame_end(frame) != len(frame):", "if False:"),
        f"{CODECS}::test_bytes_or_frames_behind_the_frame_are_refused",
    ),
    defence(
        "root-header-bound",
        "root",
        "The whole header (tenant, vault, epoch, machine, number) is bound by the seal.",
        (
            Edit("agents.engine.sealing:seal_root", "encode_root_body(body), header)", "encode_root_body(body), b'')"),
            Edit("agents.engine.sealing:_decrypt_root", "root.header_bytes)", "b'')"),
        ),
        f"{ROOTS}::test_every_field_of_a_roots_header_is_bound_by_the_seal",
    ),
    defence(
        "root-commitment",
        "root",
        "The key's commitment is checked before anything is opened.",
        Edit(
            "agents.engine.sealing:open_root",
            "if not hmac.compare_digest(derive(key, Use.ROOT_COMMITMENT), root.header.commitment):",
            "if False:",
        ),
        f"{ROOTS}::test_the_commitment_is_checked_before_anything_is_opened",
    ),
    defence(
        "root-recipient-names-root",
        "root",
        "A recipient record counts only for the root whose hash it names.",
        Edit("agents.engine.sealing:_unwrap", "if addressed[0].root_hash != root_hash:", "if False:"),
        f"{ROOTS}::test_another_roots_record_is_refused",
    ),
    defence(
        "root-needs-recipient",
        "root",
        "A root that nobody could open is not made.",
        Edit("agents.engine.sealing:seal_root", "if not recipients:", "if False:"),
        f"{ROOTS}::test_a_root_that_nobody_could_open_is_not_made",
    ),
    defence(
        "write-only-leaves-out-reading-key",
        "root",
        "A write-only machine's own reading key is no recipient of its roots.",
        Edit("agents.commands.backup:make_author", "None if machine.write_only else ", ""),
        "tests/agent/test_authors.py::test_write_only_machine_seals_to_the_vault_alone",
    ),
    defence(
        "secrets-not-shown",
        "secrecy",
        "What holds the dedup secret does not show it when printed.",
        Swap(
            "agents.engine.sealing:VaultSecrets.__repr__",
            lambda self: f"VaultSecrets({self.vault_id!r}, {self.epoch}, {self.dedup_secret!r})",
        ),
        "tests/keys/test_secrecy.py::test_what_holds_a_secret_does_not_show_it[VaultSecrets]",
    ),
    defence(
        "enrolment-string-not-shown",
        "secrecy",
        "An enrolment string does not show token and key when printed.",
        Swap("agents.keys.enrollment:EnrollmentString.__repr__", lambda self: repr((self.token, self.key))),
        "tests/keys/test_secrecy.py::test_what_holds_a_secret_does_not_show_it[EnrollmentString]",
    ),
    defence(
        "private-key-not-shown",
        "secrecy",
        "A private key is neither printed nor pickled.",
        Swap("agents.keys.rsa:PrivateKey.__repr__", lambda self: f"PrivateKey({self.to_der().hex()})"),
        "tests/keys/test_secrecy.py::test_what_holds_a_secret_does_not_show_it[PrivateKey]",
    ),
    defence(
        "log-blanks-secrets",
        "secrecy",
        "What looks like a secret is blanked in every log line.",
        Edit("backup_platform.settings.log_records:_redact_text", "text = shape.sub(replacement, text)", "pass"),
        "tests/platform/test_log_records.py::test_secrets_in_text_are_blanked",
    ),
)
