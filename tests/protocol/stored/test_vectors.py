"""Format version 1 is frozen: these bytes must be written, and read, for ever.

A difference here means a new format version, never a new vector. `python -m tests.protocol.stored.test_vectors NAME`
prints the bytes of a vector that is not kept yet.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from protocol.stored import (
    enrollment_blobs,
    lifecycle,
    machine_records,
    manifests,
    packs,
    recipients,
    references,
    roots,
    statements,
    vault_records,
    wrapped_secrets,
)
from protocol.stored.blocks import decode_block, encode_block
from protocol.stored.chunks import chunk_aad, join_sealed

VECTORS = Path(__file__).resolve().parents[2] / "vectors" / "stored"
TENANT, VAULT, MACHINE, SNAPSHOT = (bytes([n]) * 16 for n in (0x11, 0x22, 0x33, 0x44))
ONE, TWO, THREE = (bytes([n]) * 32 for n in (0xA1, 0xB2, 0xC3))

STATEMENT = statements.Statement(VAULT, 1, MACHINE, 7, 1_700_000_000_000_000, ONE, TWO, THREE, b"signature")
RECIPIENT = recipients.RecipientRecord(recipients.RecipientKind.VAULT, ONE, TWO, b"wrapped")
MACHINE_RECORD = machine_records.MachineRecord(VAULT, MACHINE, 1, True, b"identity", b"reading", THREE, b"")
WRAPPED = wrapped_secrets.WrappedSecret(VAULT, 1, ONE, b"wrapped")
LIFECYCLE = lifecycle.LifecycleRecord(
    SNAPSHOT, lifecycle.LifecycleEvent.RECEIVED, 1_700_000_000_000_001, bytes(32), {"by": "gateway"}
)
REFERENCES = references.ReferenceList(SNAPSHOT, TWO + ONE + TWO, {"files": 3, "duration_s": 1.5})
VAULT_BODY = vault_records.VaultRecordBody(
    number=3,
    vault_id=VAULT,
    epoch=1,
    opening_key=b"opening",
    signing_key=b"signing",
    recipients=[vault_records.Recipient("auditor", 1, b"third")],
    created_at=1_700_000_000_000_002,
)
VAULT_RECORD = vault_records.SignedVaultRecord(VAULT_BODY, vault_records.encode_vault_body(VAULT_BODY), b"signature")
ROOT_HEADER = roots.RootHeader(TENANT, VAULT, 1, MACHINE, 7, ONE)
ROOT_BODY = roots.RootBody(
    machine_name="lamp",
    sources=[b"/srv"],
    started_at=1,
    finished_at=2,
    secrets={1: TWO},
    segments=[roots.SegmentRef(b"/srv", b"/srv/\xff", ONE, TWO, THREE, 1234, 5)],
    files=3,
    directories=1,
    others=1,
    content_bytes=99,
    errors=0,
    exclusions=["*.tmp"],
    tags=["nightly"],
)
SEGMENT = manifests.Segment(
    [manifests.ChunkRef(ONE, TWO)],
    [
        manifests.Entry(b"/srv", 2, 0o755, 0, 0, "root", "root", 0, -1),
        manifests.Entry(b"/srv/\xff", 1, 0o4755, 1000, 1000, "a", "b", 9, 10**18, [manifests.Extent(0, 3, 9)], THREE),
        manifests.Entry(b"/srv/link", 3, 0o777, 0, 0, link=b"../x"),
    ],
)
SECRET = enrollment_blobs.EnrollmentSecret(epoch=1, dedup_secret=ONE, signing_key_hash=TWO, vault_record_number=3)


def _pack() -> bytes:
    data = packs.encode_pack_header(VAULT, SNAPSHOT)
    entries = []
    for kind, record_id, body in ((1, ONE, b"sealed chunk"), (2, TWO, b"block")):
        digest = blake3(body).digest()
        data += packs.encode_record_header(kind, record_id, len(body), digest)
        entries.append(packs.IndexEntry(kind, record_id, len(data), len(body), digest))
        data += body
    index = packs.encode_index(entries)
    return data + index + packs.encode_trailer(len(data), len(entries), index)


WRITERS: dict[str, Callable[[], bytes]] = {
    "statement": STATEMENT.encode,
    "statement-signed-bytes": STATEMENT.signed_bytes,
    "recipient-record": RECIPIENT.encode,
    "recipients": lambda: recipients.join_recipients([RECIPIENT.encode(), RECIPIENT.encode()]),
    "machine-record": MACHINE_RECORD.encode,
    "wrapped-secret": WRAPPED.encode,
    "lifecycle-record": LIFECYCLE.encode,
    "reference-list": REFERENCES.encode,
    "vault-record": VAULT_RECORD.encode,
    "vault-record-signed-bytes": VAULT_RECORD.signed_bytes,
    "root-header": lambda: roots.encode_root_header(ROOT_HEADER),
    "root-body": lambda: roots.encode_root_body(ROOT_BODY),
    "manifest-segment": lambda: manifests.encode_segment(SEGMENT),
    "reference-block": lambda: encode_block([TWO, ONE]),
    "enrollment-secret": lambda: enrollment_blobs.encode_enrollment_secret(SECRET),
    "enrollment-aad": lambda: enrollment_blobs.enrollment_aad(VAULT, ONE),
    "chunk-aad": lambda: chunk_aad(1, 1, VAULT, 1, ONE),
    "sealed-chunk": lambda: join_sealed(1, bytes(range(12)), b"ciphertext", bytes(range(16))),
    "pack": _pack,
}
READERS: dict[str, tuple[Callable[[bytes], Any], Any]] = {
    "statement": (statements.decode_statement, STATEMENT),
    "recipient-record": (recipients.decode_recipient, RECIPIENT),
    "machine-record": (machine_records.decode_machine_record, MACHINE_RECORD),
    "wrapped-secret": (wrapped_secrets.decode_wrapped_secret, WRAPPED),
    "lifecycle-record": (lifecycle.decode_lifecycle, LIFECYCLE),
    "reference-list": (references.decode_references, REFERENCES),
    "vault-record": (vault_records.decode_vault_record, VAULT_RECORD),
    "root-body": (roots.decode_root_body, ROOT_BODY),
    "manifest-segment": (manifests.decode_segment, SEGMENT),
    "reference-block": (decode_block, [ONE, TWO]),
    "enrollment-secret": (enrollment_blobs.decode_enrollment_secret, SECRET),
}


@pytest.mark.parametrize("name", WRITERS)
def test_the_frozen_bytes_are_written(name):
    assert WRITERS[name]().hex() == (VECTORS / f"{name}.hex").read_text().strip()


@pytest.mark.parametrize("name", READERS)
def test_the_frozen_bytes_are_read(name):
    decode, expected = READERS[name]
    assert decode(bytes.fromhex((VECTORS / f"{name}.hex").read_text())) == expected


def test_every_vector_is_used():
    assert {path.stem for path in VECTORS.glob("*.hex")} == set(WRITERS)


if __name__ == "__main__":
    print(WRITERS[sys.argv[1]]().hex())
