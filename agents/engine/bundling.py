"""Bundles: many small files in one chunk, ended where their content says so.

Files come in path order. After a file that brings the bundle to at least SMALLEST, the bundle ends if the file's keyed
digest falls under a threshold proportional to its size; at LARGEST, after MOST_FILES files, and after MOST_SEGMENTS
manifest segments it ends in any case. So equal trees make equal bundles on every machine of a vault, and trees that
differ in places come to agree again. `docs/decisions/0032` has the figures.
"""

from __future__ import annotations

from collections.abc import Callable

from blake3 import blake3

from agents.engine.slots import Slot

KIB = 1024
#: Files below this are bundled, all others are chunked.
SMALL_FILE = 256 * KIB
#: Little beside FURTHER: what ends within it is passed over, and two trees that differ would take long to agree again.
SMALLEST = 256 * KIB
#: What a bundle grows beyond SMALLEST on average.
FURTHER = 768 * KIB
LARGEST = 3072 * KIB
MOST_FILES = 4096
#: Segments wait for the bundles that they name; this bounds how many wait for one.
MOST_SEGMENTS = 16

Submit = Callable[[list[bytes], Slot], None]


class Bundler:
    """Collects small files. `key` is the derived key "bundle-ends"; `submit` gets the parts of a finished bundle."""

    def __init__(self, key: bytes, submit: Submit) -> None:
        self._key = key
        self._submit = submit
        self._parts: list[bytes] = []
        self._size = 0
        self._segments = 0
        self._slot = Slot(bundle=True)
        self._healing = b""

    def add(self, data: bytes, digest: bytes, healing: bytes = b"") -> tuple[Slot, int]:
        """Append a file's content (not empty); return its chunk, to be resolved later, and its offset there.

        `healing` is the id of a lost bundle that the file lay in. Such a bundle is put together from its own files
        only, so that it comes out as it was, and under the same id, whenever all of them are unchanged.
        """
        if healing != self._healing:
            self.end()
            self._healing = healing
        slot, offset, size = self._slot, self._size, len(data)
        self._parts.append(data)
        self._size = whole = offset + size
        if whole >= SMALLEST:
            if whole >= LARGEST or is_bundle_end(self._key, digest, size) or len(self._parts) >= MOST_FILES:
                self._finish()
        elif len(self._parts) >= MOST_FILES:
            self._finish()
        return slot, offset

    def segment_ended(self) -> None:
        """A manifest segment that may name the open bundle was closed."""
        if self._parts:
            self._segments += 1
            if self._segments >= MOST_SEGMENTS:
                self._finish()

    def end(self) -> None:
        """Finish the open bundle, if there is one."""
        if self._parts:
            self._finish()

    def _finish(self) -> None:
        parts, slot = self._parts, self._slot
        slot.length = self._size
        self._parts, self._size, self._segments, self._slot = [], 0, 0, Slot(bundle=True)
        self._submit(parts, slot)


def is_bundle_end(key: bytes, digest: bytes, size: int) -> bool:
    """Whether a bundle that is large enough ends after the file with this content digest and size in bytes."""
    drawn = int.from_bytes(blake3(digest, key=key).digest(8), "big")
    return drawn * FURTHER < size << 64
