"""Fetching sealed records from packs in a store: several at a read where they lie together, other copies if need be."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from agents.engine.sealing import OpeningFault
from agents.from_target.pack_index import PackIndex, Place, runs
from agents.from_target.stores import Gone, ObjectStore, Unreadable

if TYPE_CHECKING:
    from protocol.wire import Buffer

READERS = 8
RUN_BYTES = 16 << 20
GAP_BYTES = 256 << 10
"""Bytes between two records that are read and thrown away rather than asked for apart."""


class RecordReader:
    """Sealed bytes by id. Nothing is given out whose BLAKE3 is not the index's; what it opens to is checked later."""

    def __init__(self, store: ObjectStore, index: PackIndex) -> None:
        self._store = store
        self._index = index
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="strongroom-fetch")

    def fetch(self, ids: Sequence[bytes]) -> dict[bytes, Future[Buffer]]:
        """A future for each id; it gets the sealed bytes, an OpeningFault, or Unreachable."""
        futures: dict[bytes, Future[Buffer]] = {identity: Future() for identity in ids}
        places = self._index.places(list(futures))
        for identity in futures.keys() - places.keys():
            _settle(futures[identity], self._lost("A chunk that the snapshot needs is in no pack of the store."))
        for run in runs([copies[0] for copies in places.values()], RUN_BYTES, GAP_BYTES):
            self._pool.submit(self._read_run, run, places, futures)
        return futures

    def close(self) -> None:
        """End the readers."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _read_run(
        self, run: list[Place], places: dict[bytes, list[Place]], futures: dict[bytes, Future[Buffer]]
    ) -> None:
        try:
            data = self._read(run[0].key, run[0].offset, run[-1].end - run[0].offset)
            for place in run:
                start = place.offset - run[0].offset
                sealed = memoryview(data)[start : start + place.length]
                right = blake3(sealed).digest() == place.digest
                # Where the run as a whole could not be read, each record of it is asked for by itself first.
                copies = places[place.id][1:] if data else places[place.id]
                _settle(futures[place.id], sealed if right else self._other_copy(copies))
        except BaseException as fault:  # noqa: BLE001 - whoever waits for these records gets the fault
            for place in run:
                _settle(futures[place.id], fault)

    def _other_copy(self, copies: Sequence[Place]) -> Buffer | Exception:
        for place in copies:
            sealed = self._read(place.key, place.offset, place.length)
            if blake3(sealed).digest() == place.digest:
                return sealed
        return self._lost("A stored chunk is damaged, and the store has no other copy of it.")

    def _lost(self, sentence: str) -> Exception:
        """Error is not absence: while packs lie in cold storage, what is nowhere else may be in one of them."""
        return self._index.cold.missing() if self._index.cold.packs else OpeningFault(sentence)

    def _read(self, key: str, offset: int, length: int) -> bytes:
        """A part of a pack; b"" when it is gone, or the disk does not give it: damage of these records alone."""
        try:
            return self._store.read(key, offset, length)
        except (Gone, Unreadable):
            return b""


def _settle(future: Future[Any], outcome: Any) -> None:
    try:
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
    except InvalidStateError:
        return
