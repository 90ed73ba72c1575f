"""A chunk whose id is not known yet, because a worker still hashes it."""

from __future__ import annotations


class Slot:
    """Filled in by a worker: `h` first, `id` last, so whoever sees an id may use both.

    `length` is the plaintext's; `bundle` says that many small files share the chunk.
    """

    __slots__ = ("bundle", "h", "id", "length")

    def __init__(self, *, bundle: bool = False, length: int = 0) -> None:
        self.id = b""
        self.h = b""
        self.length = length
        self.bundle = bundle

    @classmethod
    def known(cls, chunk_id: bytes, h: bytes, *, bundle: bool = False) -> Slot:
        """A chunk that an earlier snapshot holds already."""
        slot = cls(bundle=bundle)
        slot.h, slot.id = h, chunk_id
        return slot


#: A piece of a file's content: chunk, offset in it, length.
Reference = tuple[Slot, int, int]
