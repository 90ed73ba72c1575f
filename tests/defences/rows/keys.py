"""Records, statements, proofs, certificates and the kit: who vouches for what."""

from __future__ import annotations

from tests.defences.defence import defence
from tests.defences.removal import Edit, Swap

VAULT = "tests/keys/test_vault_record.py"
MACHINE = "tests/keys/test_machine_record.py"
STATEMENT = "tests/keys/test_statement.py"
KIT = "tests/keys/test_kit.py"
X509 = "tests/keys/test_certificates.py"
RSA = "tests/keys/test_rsa.py"
ENROLLMENT = "tests/keys/test_enrollment.py"
OPEN_RECORD = "agents.keys.vault_record:open_vault_record"
PLACE = "agents.keys.vault_record:_check_place"
CHAIN = "agents.keys.statement:_Chain"
GATEWAY = "agents.keys.certificates:check_gateway_certificate"
PROOF = "agents.keys.kit_proof:kit_proof_message"
SERVER_PROOF = "backup_platform.vaults.proofs:verify_kit_proof"


PROOF_PARTS = {
    "nonce": ("the gateway's nonce", "+ nonce +", "+ bytes(32) +"),
    "certificate": ("the gateway's certificate", "+ certificate_hash +", "+ bytes(32) +"),
    "caller": ("the machine that asks", "+ caller +", "+ bytes(16) +"),
    "scope": ("the machine that is asked about", "+ scope,", "+ bytes(16),"),
}


def unbound(part: int) -> str:
    """The agent's message with one part left out; the server's half is changed alike, or nothing would verify."""
    return f"bytes(size) if number == {part} else value for number, (value, size) in enumerate(parts)"


ROWS = (
    defence(
        "vault-record-signature",
        "law 6",
        "Recipients come only from a record that the vault's signing key signed.",
        Edit(OPEN_RECORD, "signing_key.verify(signed.signed_bytes(), signed.signature)", "pass"),
        f"{VAULT}::test_a_record_that_names_the_pinned_key_but_is_signed_by_another_is_refused",
        f"{VAULT}::test_a_record_with_an_exchanged_recipient_is_refused",
    ),
    defence(
        "vault-record-pinned-key",
        "law 6",
        "The signing key is the one whose hash came with the enrolment secret, never one the server names.",
        Edit(OPEN_RECORD, "if signing_key.key_hash != signing_key_hash:", "if False:"),
        f"{VAULT}::test_a_record_signed_by_another_key_is_refused",
        "tests/agent/test_greeting.py::test_record_with_an_extra_recipient_of_the_servers_is_refused",
    ),
    defence(
        "vault-record-number",
        "vault record",
        "A record number lower than one already seen is refused.",
        Edit(PLACE, "if record.number < lowest_number:", "if False:"),
        f"{VAULT}::test_an_older_record_than_one_already_seen_is_refused",
        "tests/agent/test_greeting.py::test_older_vault_record_is_refused",
    ),
    defence(
        "vault-record-number-remembered",
        "vault record",
        "The highest number seen is kept, and only grows.",
        Edit(
            "agents.state:AgentHome.remember_record_number",
            "if number <= self.machine().record_number:",
            "if False:",
            (("if number > machine.record_number:", "if True:"),),
        ),
        "tests/agent/test_state.py::test_record_number_only_grows",
    ),
    defence(
        "vault-record-own-vault",
        "vault record",
        "A record of another vault of the same kit is refused.",
        Edit(PLACE, "if vault_id is not None and record.vault_id != vault_id:", "if False:"),
        f"{VAULT}::test_another_vaults_record_is_refused",
    ),
    defence(
        "vault-record-one-use-a-key",
        "vault record",
        "Opening and signing keys differ.",
        Edit("agents.keys.vault_record:_record", "if opening_key == signing_key:", "if False:"),
        f"{VAULT}::test_one_key_for_opening_and_signing_is_refused",
    ),
    defence(
        "vault-record-unknown-recipient",
        "law 6",
        "A recipient that is not understood is refused, not left out.",
        Edit("agents.keys.vault_record:_further", "if recipient.algorithm != RSA_OAEP:", "if False:"),
        f"{VAULT}::test_a_recipient_that_is_not_understood_is_refused_and_not_left_out",
    ),
    defence(
        "machine-record-mac",
        "machine record",
        "A machine's keys count only under a MAC that needs the dedup secret.",
        Edit("agents.keys.machine_record:check", "_check_mac(record, dedup_secret)", "pass"),
        f"{MACHINE}::test_a_record_made_without_the_vaults_secret_is_refused",
        f"{MACHINE}::test_the_servers_exchange_of_a_key_is_refused",
        "tests/restore/test_reading.py::test_server_made_machine_record_is_not_believed",
    ),
    defence(
        "machine-record-own-vault",
        "machine record",
        "A record of another vault is refused.",
        Edit("agents.keys.machine_record:check", "if vault_id not in (None, record.vault_id):", "if False:"),
        f"{MACHINE}::test_another_machines_or_vaults_record_is_refused",
    ),
    defence(
        "statement-signature",
        "statement",
        "A statement counts only with the machine's signature.",
        Edit(
            "agents.keys.statement:verify_statement",
            "identity.verify(statement.signed_bytes(), statement.signature)",
            "pass",
        ),
        f"{STATEMENT}::test_a_forged_statement_is_named",
        "tests/restore/test_reading.py::test_statement_signed_by_another_key_is_forged",
    ),
    defence(
        "statement-own-machine",
        "statement",
        "A statement of another machine or vault is foreign.",
        Edit(
            "agents.keys.statement:verify_statement",
            "if (statement.vault_id, statement.machine_id) != (vault_id, machine_id):",
            "if False:",
        ),
        f"{STATEMENT}::test_another_machines_or_vaults_statement_is_named",
    ),
    defence(
        "statement-signed-context",
        "statement",
        "What is signed begins with its context, so that no signature serves another use.",
        Swap("protocol.stored.statements:STATEMENT_CONTEXT", b""),
        f"{STATEMENT}::test_the_frozen_statement_verifies",
        fails_as="statement.ChainFault",
    ),
    defence(
        "chain-previous",
        "chain",
        "Each statement names the hash of the one before it.",
        Edit(f"{CHAIN}.check_link", "after.previous != before.digest", "False"),
        f"{STATEMENT}::test_two_histories_of_one_machine_are_named",
        "tests/restore/test_reading.py::test_exchanged_neighbour_breaks_the_chain",
    ),
    defence(
        "chain-sequence",
        "chain",
        "Sequence numbers rise by one; an unexplained gap is damage.",
        Edit(f"{CHAIN}._explain", "if newest[:16] in self.expired and self.spare >= 0:", "if True:"),
        f"{STATEMENT}::test_a_gap_without_lifecycle_records_is_named",
    ),
    defence(
        "chain-order",
        "chain",
        "Statements in another order, or of an older epoch, are refused.",
        Edit(
            f"{CHAIN}.check_link",
            "if after.sequence <= before.sequence or after.epoch < before.epoch:",
            "if False:",
        ),
        f"{STATEMENT}::test_a_chain_that_goes_back_to_an_older_epoch_is_named",
    ),
    defence(
        "chain-head",
        "chain",
        "A machine's own newest statement shows a chain that was cut short or forked.",
        Edit("agents.keys.statement:check_chain", "if head is not None:", "if False:"),
        f"{STATEMENT}::test_a_shortened_chain_is_named_by_whoever_remembers_its_head",
        "tests/restore/test_reading.py::test_hidden_newest_snapshot_is_damage",
        "tests/restore/test_reading.py::test_newest_snapshot_that_differs_from_the_remembered_one_is_a_fork",
    ),
    defence(
        "blob-aad-vault",
        "enrolment",
        "An enrolment blob opens for its vault only.",
        Edit("protocol.stored.enrollment_blobs:enrollment_aad", "+ vault_id +", "+ bytes(16) +"),
        f"{ENROLLMENT}::test_a_blob_does_not_open_for_another_token_key_or_vault[vault]",
    ),
    defence(
        "blob-aad-token",
        "enrolment",
        "An enrolment blob opens for its token only.",
        Edit("protocol.stored.enrollment_blobs:enrollment_aad", "+ token_hash", "+ bytes(32)"),
        f"{ENROLLMENT}::test_a_blob_does_not_open_for_another_token_key_or_vault[token]",
    ),
    defence(
        "ca-pin",
        "enrolment",
        "The token goes only to a gateway of the authority that the string pins.",
        Edit(
            "agents.keys.certificates:check_authority",
            "if not hmac.compare_digest(hashlib.sha256(ca_der).digest(), ca_hash):",
            "if False:",
        ),
        f"{X509}::test_an_authority_that_is_not_pinned_is_refused",
        "tests/agent/test_enrolling.py::test_token_is_never_sent_to_a_gateway_that_the_string_does_not_pin",
    ),
    defence(
        "ca-pin-after-enrolment",
        "enrolment",
        "An exchanged CA file in the agent's home is not the pinned one.",
        Edit(
            "agents.transport.connecting:enrolled_context",
            "if hashlib.sha256(ssl.PEM_cert_to_DER_cert(authority)).digest() != home.machine().ca_pin:",
            "if False:",
        ),
        "tests/agent/test_greeting.py::test_exchanged_ca_file_is_not_the_pinned_one",
        fails_as="errors.Disconnected",
    ),
    defence(
        "gateway-issued-by-ca",
        "enrolment",
        "The gateway's certificate is the authority's.",
        Edit(GATEWAY, '_check_issued(leaf, ca, "The gateway\'s certificate")', "pass"),
        f"{X509}::test_another_gateway_is_refused_and_the_reason_named[another authority's key]",
    ),
    defence(
        "gateway-certificate-use",
        "enrolment",
        "A machine's certificate does not make a gateway (extended key usage).",
        Edit(GATEWAY, '_check_usage(leaf, ExtendedKeyUsageOID.SERVER_AUTH, "The gateway\'s certificate")', "pass"),
        f"{X509}::test_another_gateway_is_refused_and_the_reason_named[a machine's]",
    ),
    defence(
        "gateway-certificate-name",
        "enrolment",
        "A gateway's certificate is made out to a gateway (subject alternative name).",
        Edit(GATEWAY, "if GATEWAY_NAME not in _names(leaf):", "if False:"),
        f"{X509}::test_another_gateway_is_refused_and_the_reason_named[another name]",
    ),
    defence(
        "gateway-certificate-dates",
        "enrolment",
        "An expired gateway certificate is refused.",
        Edit(GATEWAY, '_check_dates(leaf, now, "The gateway\'s certificate")', "pass"),
        f"{X509}::test_another_gateway_is_refused_and_the_reason_named[expired]",
    ),
    defence(
        "write-only-sealed-in",
        "law 6",
        "Whether a machine is write-only is sealed in the blob: the server cannot say otherwise.",
        Edit("agents.transport.enrolling:_vouched_for", "if enrolled.write_only != secret.write_only:", "if False:"),
        "tests/agent/test_enrolling.py::test_cheating_gateway_gets_nothing_and_leaves_nothing"
        "[a write-only machine that shall be able to read]",
    ),
    defence(
        "enrolment-record-verified",
        "law 6",
        "An enrolling machine believes a vault record only under the key hash in its blob.",
        Edit(OPEN_RECORD, "if signing_key.key_hash != signing_key_hash:", "if False:"),
        "tests/agent/test_enrolling.py::test_cheating_gateway_gets_nothing_and_leaves_nothing"
        "[the server's own vault record]",
    ),
    defence(
        "kit-mac-before-use",
        "kit",
        "Each key file's HMAC is checked before its key is used.",
        Edit("agents.keys.kit_manifest:read_manifest", '_check_files(keys, body["files"], files)', "pass"),
        f"{KIT}::test_no_key_is_looked_at_before_its_file_was_checked",
        fails_as="AttributeError",
    ),
    defence(
        "kit-manifest-mac",
        "kit",
        "kit.json itself is under the passphrase's HMAC.",
        Edit(
            "agents.keys.kit_manifest:read_manifest",
            'if not hmac.compare_digest(keys.mac("kit.json", _canonical(body)), mac):',
            "if False:",
        ),
        f"{KIT}::test_an_altered_kit_with_a_corrected_checksum_is_still_damage",
    ),
    defence(
        "kit-never-overwritten",
        "kit",
        "An existing kit is never overwritten.",
        Edit("agents.keys.kit_files:prepare_directory", "_check_empty(directory)", "pass"),
        f"{KIT}::test_an_existing_kit_is_never_overwritten",
    ),
    *(
        defence(
            f"kit-proof-{name}",
            "kit proof",
            f"A proof of the kit binds {words}.",
            (Edit(PROOF, "value for value, _ in parts", unbound(part)), Edit(SERVER_PROOF, old, new)),
            f"{VAULT}::test_a_kit_proof_holds_for_exactly_its_values",
            f"tests/gateway/test_restoring.py::test_proof_of_anything_else_is_refused_and_audited[changed{part}]",
        )
        for part, (name, (words, old, new)) in enumerate(PROOF_PARTS.items())
    ),
    defence(
        "rsa-oaep-sha256",
        "RSA",
        "Wrapping is OAEP with SHA-256, never the library's SHA-1.",
        Edit("agents.keys.rsa:_oaep", "hashAlgo=SHA256, mgfunc=_mgf1_sha256,", ""),
        f"{RSA}::test_wrapping_with_sha1_is_refused",
        f"{RSA}::test_wrapping_agrees_with_another_library_in_both_directions",
        fails_as="ValueError faults.KeyFault",
    ),
    defence(
        "rsa-oaep-label",
        "RSA",
        "What was wrapped for one use does not open for another.",
        Edit("agents.keys.rsa:_oaep", "label=label", "label=b''"),
        f"{RSA}::test_what_was_wrapped_for_one_use_does_not_open_for_another",
    ),
    defence(
        "rsa-pss-salt",
        "RSA",
        "A signature's salt is exactly 32 bytes.",
        Edit("agents.keys.rsa:PublicKey.verify", "salt_bytes=SALT_SIZE", "salt_bytes=20"),
        f"{RSA}::test_signature_with_another_salt_length_is_refused[20]",
    ),
    defence(
        "rsa-exponent-and-size",
        "RSA",
        "Keys of other sizes and exponents are refused.",
        Edit("agents.keys.rsa:load_public", "_check_public(n, e)", "pass"),
        "tests/keys/test_key_files.py::test_keys_of_other_sizes_are_refused",
        "tests/keys/test_key_files.py::test_another_exponent_is_refused",
    ),
    defence(
        "rsa-consistency",
        "RSA",
        "A private key whose numbers do not belong together is refused.",
        Edit("agents.keys.rsa:load_private", "_check_private(*numbers)", "pass"),
        "tests/keys/test_key_files.py::test_an_inconsistent_private_key_is_refused",
    ),
)
