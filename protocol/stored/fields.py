"""Reading fixed fields from bytes, one after the other, without ever reading past the end."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from protocol.stored.errors import FormatError

ID_SIZE = 16
"""Bytes of a tenant, vault, machine, session, snapshot or pack id (a UUID)."""
DIGEST_SIZE = 32
"""Bytes of a BLAKE3 or SHA-256 digest, of a chunk id and of a plaintext hash."""

Body = TypeVar("Body")


class Fields:
    """A cursor over one object's bytes; every fault is a FormatError that names ``what``."""

    def __init__(self, data: bytes | bytearray | memoryview, what: str, start: int = 0) -> None:
        self._view = memoryview(data)
        self._what = what
        self.position = start

    def take(self, size: int, field: str) -> bytes:
        """Return the next ``size`` bytes."""
        end = self.position + size
        if end > len(self._view):
            raise FormatError(self._what, f"ends before its {field}")
        taken = bytes(self._view[self.position : end])
        self.position = end
        return taken

    def number(self, size: int, field: str) -> int:
        """Return the next ``size`` bytes as a big-endian unsigned number."""
        return int.from_bytes(self.take(size, field), "big")

    def sized(self, size: int, limit: int, field: str) -> bytes:
        """Return a byte string that is preceded by its length, itself ``size`` bytes wide and at most ``limit``."""
        length = self.number(size, f"{field} length")
        if length > limit:
            raise FormatError(self._what, f"{field} of {length} bytes is over the limit of {limit}")
        return self.take(length, field)

    def rest(self) -> bytes:
        """Return all that is left."""
        return self.take(len(self._view) - self.position, "rest")

    def end(self) -> None:
        """Refuse bytes that follow the last field."""
        if self.position != len(self._view):
            raise FormatError(self._what, "is followed by bytes that do not belong to it")


def check_size(value: bytes, size: int, what: str, field: str) -> bytes:
    """Return ``value`` when it is exactly ``size`` bytes long."""
    if len(value) != size:
        raise FormatError(what, f"{field} is {len(value)} bytes, not {size}")
    return value


def sized(value: bytes, size: int, limit: int, what: str, field: str) -> bytes:
    """Return ``value`` preceded by its length in ``size`` bytes."""
    if len(value) > limit:
        raise FormatError(what, f"{field} of {len(value)} bytes is over the limit of {limit}")
    return len(value).to_bytes(size, "big") + value


def decode_body(data: bytes, kind: type[Body], what: str) -> Body:
    """Decode one MessagePack map or array into the Struct ``kind``, validated."""
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (ValueError, RecursionError, OverflowError) as fault:
        # The library's own sentence may quote content, so only its kind is told.
        raise FormatError(what, f"its body cannot be decoded ({type(fault).__name__})") from None
