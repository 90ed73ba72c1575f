"""Cutting large files at places that their content chooses (FastCDC), from a bounded buffer, never from a mapping.

The library is pyfastcdc, the gear hash with normalised chunking of the 2020 FastCDC paper. Boundaries are part of the
stored format: equal content must be cut equally for ever, or nothing deduplicates any more. Golden vectors under
tests/engine freeze them. The seed (63 bits of a derived key) alters the gear table, so that chunk lengths of a known
file differ from vault to vault; `docs/decisions/0031` says what that is worth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pyfastcdc import FastCDC

KIB = 1024
MIB = 1024 * KIB

#: Fills a buffer from the front and returns how much it filled; 0 means the end.
Filler = Callable[[memoryview], int]


@dataclass(frozen=True, slots=True)
class Profile:
    """Chunk sizes in bytes; `name` stands in the root."""

    name: str
    smallest: int
    average: int
    largest: int


GENERAL = Profile("fastcdc-1m", 256 * KIB, MIB, 4 * MIB)
FINE = Profile("fastcdc-64k", 16 * KIB, 64 * KIB, 256 * KIB)
PROFILES = {profile.name: profile for profile in (GENERAL, FINE)}


class Chunker:
    """Cuts one stream at a time. `key` is the derived key "chunker-seed" (32 bytes)."""

    def __init__(self, key: bytes, profile: Profile = GENERAL) -> None:
        self.profile = profile
        # The library takes what fits into 63 bits, and 0 would mean "no seed".
        seed = int.from_bytes(key[:8], "big") >> 1 or 1
        self._cutter = FastCDC(
            profile.average,
            min_size=profile.smallest,
            max_size=profile.largest,
            normalized_chunking=1,
            seed=seed,
        )
        # Made at the first large file: a backup that finds none should not pay for filling 16 MiB with zeros.
        self._buffer = bytearray()

    def cut(self, fill: Filler) -> Iterator[memoryview]:
        """Yield the chunks of a stream. Each is valid only until the next one is asked for."""
        if not self._buffer:
            # A cut is final when a whole largest chunk is in view; three more of them keep the moves of the rest rare.
            self._buffer = bytearray(max(4 * self.profile.largest, 4 * MIB))
        view = memoryview(self._buffer)
        start = end = 0
        more = True
        while True:
            if more:
                start, end, more = self._refill(view, start, end, fill)
            for chunk in self._cutter.cut_buf(view[start:end]):
                yield chunk.data
                start += chunk.length
                if more and end - start < self.profile.largest:
                    break
            else:
                if not more:
                    return

    def _refill(self, view: memoryview, start: int, end: int, fill: Filler) -> tuple[int, int, bool]:
        """Move the rest to the front and read until the buffer is full or the stream ends."""
        rest = end - start
        view[:rest] = view[start:end]
        while rest < len(view):
            count = fill(view[rest:])
            if count == 0:
                return 0, rest, False
            rest += count
        return 0, rest, True
