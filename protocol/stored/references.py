"""Reference lists: which reference blocks a snapshot needs, so that a catalogue can be made again without any key.

``prefix ‖ snapshot ‖ count u32 ‖ count × 32 ‖ length u16 ‖ counts (MessagePack map of numbers)``. A statement has the
blocks' hash only and the root, which names them, is sealed. The list proves itself by that hash; the counts are what
the server showed about the run, and prove nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from protocol.stored.errors import FormatError
from protocol.stored.fields import DIGEST_SIZE, ID_SIZE, Fields, check_size, decode_body, sized
from protocol.stored.prefix import PREFIX_SIZE, ObjectType, check_prefix, pack_prefix

MAX_LISTED = 1 << 20
"""Blocks in one list: far more than a commit may name, and 32 MiB at the most."""
MAX_COUNTS = 4096
WHAT = "reference list"


@dataclass(frozen=True, slots=True)
class ReferenceList:
    """``blocks`` are the joined ids of the snapshot's reference blocks, in manifest order."""

    snapshot_id: bytes
    blocks: bytes
    counts: dict[str, int | float] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return the list's bytes."""
        check_size(self.snapshot_id, ID_SIZE, WHAT, "snapshot id")
        count, rest = divmod(len(self.blocks), DIGEST_SIZE)
        if rest or count > MAX_LISTED:
            raise FormatError(WHAT, "its ids are cut short, or too many")
        head = pack_prefix(ObjectType.REFERENCE_LIST) + self.snapshot_id + count.to_bytes(4, "big")
        return head + self.blocks + sized(msgspec.msgpack.encode(self.counts), 2, MAX_COUNTS, WHAT, "counts")


def decode_references(data: bytes) -> ReferenceList:
    """Read a reference list; whether it is the statement's is for the caller to check."""
    check_prefix(data, ObjectType.REFERENCE_LIST)
    fields = Fields(data, WHAT, PREFIX_SIZE)
    snapshot_id = fields.take(ID_SIZE, "snapshot id")
    count = fields.number(4, "count")
    if count > MAX_LISTED:
        raise FormatError(WHAT, f"claims {count} ids, over the limit of {MAX_LISTED}")
    blocks = fields.take(count * DIGEST_SIZE, "ids")
    counts = decode_body(fields.sized(2, MAX_COUNTS, "counts"), dict[str, int | float], WHAT)
    fields.end()
    return ReferenceList(snapshot_id, blocks, counts)
