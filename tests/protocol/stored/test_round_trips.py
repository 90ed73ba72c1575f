"""Every stored object reads back as what was written."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from protocol.stored import enrollment_blobs, lifecycle, machine_records, manifests, roots, vault_records
from protocol.stored.blocks import block_contains, block_id, decode_block, encode_block
from protocol.stored.chunks import join_sealed, split_sealed
from protocol.stored.recipients import decode_recipient, join_recipients, split_recipients
from protocol.stored.statements import decode_statement
from protocol.stored.wrapped_secrets import decode_wrapped_secret
from tests.protocol.stored import strategies as made


@given(made.statements)
def test_a_statement_reads_back(statement):
    assert decode_statement(statement.encode()) == statement
    assert statement.snapshot_id == statement.digest[:16]


@given(made.recipient_records)
def test_a_recipient_record_reads_back(record):
    assert decode_recipient(record.encode()) == record


@given(st.lists(st.binary(max_size=600), max_size=5))
def test_recipient_records_join_and_split(records):
    assert split_recipients(join_recipients(records)) == records


@given(made.machine_records)
def test_a_machine_record_reads_back(record):
    assert machine_records.decode_machine_record(record.encode()) == record


@given(made.wrapped_secrets)
def test_a_wrapped_secret_reads_back(secret):
    assert decode_wrapped_secret(secret.encode()) == secret


@given(made.lifecycle_records)
def test_a_lifecycle_record_reads_back(record):
    assert lifecycle.decode_lifecycle(record.encode()) == record


@given(made.vault_bodies, st.binary(max_size=512))
def test_a_vault_record_reads_back(body, signature):
    signed = vault_records.SignedVaultRecord(body, vault_records.encode_vault_body(body), signature)
    assert vault_records.decode_vault_record(signed.encode()) == signed


@given(
    made.root_headers, st.binary(min_size=12, max_size=12), st.binary(max_size=99), st.binary(min_size=16, max_size=16)
)
def test_a_root_file_reads_back(header, nonce, ciphertext, tag):
    header_bytes = roots.encode_root_header(header)
    assert len(header_bytes) == roots.ROOT_HEADER_SIZE == 100
    read = roots.decode_root(header_bytes + nonce + ciphertext + tag)
    assert read == roots.RootFile(header, header_bytes, nonce, ciphertext, tag)


@given(made.root_bodies)
def test_a_root_body_reads_back(body):
    assert roots.decode_root_body(roots.encode_root_body(body)) == body


@given(made.segments())
def test_a_manifest_segment_reads_back(segment):
    assert manifests.decode_segment(manifests.encode_segment(segment)) == segment


@given(made.enrollment_secrets, st.binary(max_size=99))
def test_an_enrolment_blob_reads_back(secret, ciphertext):
    encoded = enrollment_blobs.encode_enrollment_secret(secret)
    assert enrollment_blobs.decode_enrollment_secret(encoded) == secret
    blob = enrollment_blobs.EnrollmentBlob(bytes(12), ciphertext, bytes(16))
    assert enrollment_blobs.decode_enrollment_blob(blob.encode()) == blob


@given(st.sets(made.digest, max_size=20), made.digest)
def test_a_reference_block_reads_back_and_answers_membership(ids, stranger):
    block = encode_block(ids)
    assert decode_block(block) == sorted(ids)
    assert all(block_contains(block, chunk_id) for chunk_id in ids)
    assert block_contains(block, stranger) == (stranger in ids)
    assert block_id(block) == block_id(encode_block(sorted(ids, reverse=True)))


@given(st.sampled_from([0, 1]), st.binary(min_size=12, max_size=12), st.binary(max_size=99))
def test_a_sealed_chunk_splits_into_what_was_joined(codec, nonce, ciphertext):
    chunk = split_sealed(join_sealed(codec, nonce, ciphertext, b"t" * 16))
    assert (chunk.codec, chunk.nonce, bytes(chunk.ciphertext), chunk.tag) == (codec, nonce, ciphertext, b"t" * 16)


def test_an_entry_written_by_a_later_version_is_read_without_its_new_fields():
    import msgspec

    prefix = manifests.encode_segment(manifests.Segment([], []))[:8]
    newer = [b"/a", 1, 0o644, 0, 0, "", "", 0, 0, [], b"", b"", 0, 0, [], [], 0, True, "a field of the future"]
    read = manifests.decode_segment(prefix + msgspec.msgpack.encode([[], [newer], "more"]))
    assert read.entries[0].path == b"/a"
    older = [b"/a", 1, 0o644, 0, 0]
    assert manifests.decode_segment(prefix + msgspec.msgpack.encode([[], [older]])).entries[0].last


def test_the_enrolment_secret_does_not_show_itself():
    secret = enrollment_blobs.EnrollmentSecret(
        epoch=1, dedup_secret=b"S" * 32, signing_key_hash=b"K" * 32, vault_record_number=1
    )
    assert "SSS" not in repr(secret)
    assert "SSS" not in str(secret)
