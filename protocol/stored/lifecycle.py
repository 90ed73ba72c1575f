"""Lifecycle records: what the server did with a snapshot, appended and never changed; each names the one before it.

``prefix ‖ snapshot ‖ event u8 ‖ time u64 ‖ previous 32 ‖ length u16 ‖ detail (MessagePack map of strings)``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import msgspec
from blake3 import blake3

from protocol.stored.errors import FormatError
from protocol.stored.fields import DIGEST_SIZE, ID_SIZE, Fields, check_size, decode_body, sized
from protocol.stored.prefix import PREFIX_SIZE, ObjectType, check_prefix, pack_prefix

MAX_DETAIL = 8192


class LifecycleEvent(IntEnum):
    """What happened to a snapshot."""

    RECEIVED = 1
    EXPIRED = 2
    UNDELETED = 3
    HOLD_SET = 4
    HOLD_RELEASED = 5


@dataclass(frozen=True, slots=True)
class LifecycleRecord:
    """One event. ``time`` in microseconds; ``previous`` is the digest of the snapshot's record before, or zeros."""

    snapshot_id: bytes
    event: LifecycleEvent
    time: int
    previous: bytes = bytes(DIGEST_SIZE)
    detail: dict[str, str] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return the record's bytes."""
        check_size(self.snapshot_id, ID_SIZE, "lifecycle record", "snapshot id")
        check_size(self.previous, DIGEST_SIZE, "lifecycle record", "previous digest")
        head = pack_prefix(ObjectType.LIFECYCLE_RECORD) + self.snapshot_id + bytes((self.event,))
        detail = sized(msgspec.msgpack.encode(self.detail), 2, MAX_DETAIL, "lifecycle record", "detail")
        return head + self.time.to_bytes(8, "big") + self.previous + detail

    @property
    def digest(self) -> bytes:
        """BLAKE3 of the record."""
        return blake3(self.encode()).digest()


def decode_lifecycle(data: bytes) -> LifecycleRecord:
    """Read a lifecycle record."""
    check_prefix(data, ObjectType.LIFECYCLE_RECORD)
    fields = Fields(data, "lifecycle record", PREFIX_SIZE)
    snapshot_id = fields.take(ID_SIZE, "snapshot id")
    number = fields.number(1, "event")
    time = fields.number(8, "time")
    previous = fields.take(DIGEST_SIZE, "previous digest")
    detail = decode_body(fields.sized(2, MAX_DETAIL, "detail"), dict[str, str], "lifecycle record")
    fields.end()
    if number not in tuple(LifecycleEvent):
        raise FormatError("lifecycle record", f"names event {number}, which this program does not know")
    return LifecycleRecord(snapshot_id, LifecycleEvent(number), time, previous, detail)
