"""Roots: the small sealed object that names a snapshot's manifest segments.

File: ``header 100 ‖ nonce 12 ‖ ciphertext ‖ tag 16``; the header is ``prefix ‖ tenant ‖ vault ‖ epoch u32 ‖ machine ‖
sequence u64 ‖ commitment 32`` and is all aad. The commitment to the key is checked before anything is opened, since
AES-GCM alone does not commit to its key.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from protocol.stored.errors import FormatError
from protocol.stored.fields import DIGEST_SIZE, ID_SIZE, Fields, check_size, decode_body
from protocol.stored.prefix import PREFIX_SIZE, ObjectType, check_prefix, pack_prefix

ROOT_HEADER_SIZE = PREFIX_SIZE + 3 * ID_SIZE + 4 + 8 + DIGEST_SIZE
NONCE_SIZE = 12
TAG_SIZE = 16
MAX_ROOT = 8 * 1024 * 1024
"""Names some 50,000 manifest segments: hundreds of millions of files."""
MAX_EPOCHS = 1024
"""Dedup secrets in one root. A reader derives keys of each; nobody changes epochs so often."""


@dataclass(frozen=True, slots=True)
class RootHeader:
    """What a root says in clear; all of it is bound by the AEAD."""

    tenant_id: bytes
    vault_id: bytes
    epoch: int
    machine_id: bytes
    sequence: int
    commitment: bytes


@dataclass(frozen=True, slots=True)
class RootFile:
    """A root as stored, cut into its fields; ``header_bytes`` is the aad."""

    header: RootHeader
    header_bytes: bytes
    nonce: bytes
    ciphertext: bytes
    tag: bytes


class SegmentRef(msgspec.Struct, frozen=True, array_like=True):
    """One manifest segment: what it covers and how it is fetched and opened."""

    first_path: bytes
    last_path: bytes
    chunk_id: bytes
    hash: bytes
    """``h`` of the segment: a read capability."""
    block_id: bytes
    length: int
    """Bytes of the segment's plaintext."""
    entries: int


class RootBody(msgspec.Struct, frozen=True, kw_only=True):
    """The plaintext of a root (a MessagePack map). Times are microseconds since the epoch, UTC."""

    machine_name: str
    sources: list[bytes]
    started_at: int
    finished_at: int
    secrets: dict[int, bytes]
    """The dedup secret of every epoch that the snapshot's chunks use."""
    segments: list[SegmentRef]
    format: int = 1
    files: int = 0
    directories: int = 0
    others: int = 0
    content_bytes: int = msgspec.field(default=0, name="bytes")
    """Sum of the files' sizes."""
    errors: int = 0
    """Sources that could not be read or changed while they were read."""
    exclusions: list[str] = []
    chunker: str = "fastcdc-1m"
    tags: list[str] = []


def encode_root_header(header: RootHeader) -> bytes:
    """Return the 100 bytes that a root begins with."""
    for field, value in (("tenant", header.tenant_id), ("vault", header.vault_id), ("machine", header.machine_id)):
        check_size(value, ID_SIZE, "root", f"{field} id")
    check_size(header.commitment, DIGEST_SIZE, "root", "commitment")
    return b"".join(
        (
            pack_prefix(ObjectType.ROOT),
            header.tenant_id,
            header.vault_id,
            header.epoch.to_bytes(4, "big"),
            header.machine_id,
            header.sequence.to_bytes(8, "big"),
            header.commitment,
        )
    )


def decode_root(data: bytes) -> RootFile:
    """Cut a root file into its fields."""
    if len(data) > MAX_ROOT:
        raise FormatError("root", f"is {len(data)} bytes, over the limit of {MAX_ROOT}")
    check_prefix(data, ObjectType.ROOT)
    fields = Fields(data, "root", PREFIX_SIZE)
    header = RootHeader(
        tenant_id=fields.take(ID_SIZE, "tenant id"),
        vault_id=fields.take(ID_SIZE, "vault id"),
        epoch=fields.number(4, "epoch"),
        machine_id=fields.take(ID_SIZE, "machine id"),
        sequence=fields.number(8, "sequence number"),
        commitment=fields.take(DIGEST_SIZE, "commitment"),
    )
    nonce = fields.take(NONCE_SIZE, "nonce")
    sealed = fields.rest()
    if len(sealed) < TAG_SIZE:
        raise FormatError("root", "ends before its tag")
    return RootFile(header, bytes(data[:ROOT_HEADER_SIZE]), nonce, sealed[:-TAG_SIZE], sealed[-TAG_SIZE:])


def encode_root_body(body: RootBody) -> bytes:
    """Return the plaintext of a root."""
    return msgspec.msgpack.encode(body)


def decode_root_body(data: bytes) -> RootBody:
    """Read the plaintext of a root, every id and secret checked for its length."""
    body = decode_body(data, RootBody, "root")
    if body.format != 1:
        raise FormatError("root", f"its body has format {body.format}; this program reads format 1")
    for ref in body.segments:
        for field in (ref.chunk_id, ref.hash, ref.block_id):
            check_size(field, DIGEST_SIZE, "root", "segment reference")
    if len(body.secrets) > MAX_EPOCHS or not all(0 < epoch < 1 << 32 for epoch in body.secrets):
        raise FormatError("root", "the epochs of its dedup secrets are too many or out of bounds")
    for secret in body.secrets.values():
        check_size(secret, DIGEST_SIZE, "root", "dedup secret")
    return body
