"""Chunks come in the order in which they are used, each fetched once while it is kept, and never too many at a time."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.engine.chunk_supply import AHEAD, BATCH, ChunkSupply
from agents.errors import Damage
from protocol.stored.manifests import ChunkRef
from tests.restore.forge import Shelf, file, restore

BLOCK = b"b" * 32


def ref(number: int) -> ChunkRef:
    return ChunkRef(number.to_bytes(32, "big"), b"h" * 32)


class Fetcher:
    """Answers every request at once and remembers it."""

    def __init__(self) -> None:
        self.requests: list[list[bytes]] = []

    def __call__(self, block: bytes, ids: list[bytes]) -> dict[bytes, Future]:
        self.requests.append(list(ids))
        answers = {identity: Future() for identity in ids}
        for identity, future in answers.items():
            future.set_result(identity)
        return answers

    @property
    def fetched(self) -> list[bytes]:
        return [identity for request in self.requests for identity in request]


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


def supply(fetcher: Fetcher, pool: ThreadPoolExecutor, kept: int = 1 << 20) -> ChunkSupply:
    return ChunkSupply(fetcher, lambda sealed, chunk_id, h: bytes(sealed), pool, kept)


def test_chunk_that_many_files_use_is_fetched_once(pool: ThreadPoolExecutor):
    fetcher = Fetcher()
    chunks = supply(fetcher, pool)
    for _ in range(100):
        chunks.expect(BLOCK, ref(1))
        chunks.expect(BLOCK, ref(2))
    for _ in range(100):
        assert chunks.take(ref(1)) == ref(1).id
        assert chunks.take(ref(2)) == ref(2).id
    chunks.expect(BLOCK, ref(1))
    assert chunks.take(ref(1)) == ref(1).id
    assert fetcher.fetched == [ref(1).id, ref(2).id]


def test_chunk_that_was_given_up_for_room_is_fetched_again(pool: ThreadPoolExecutor):
    fetcher = Fetcher()
    chunks = supply(fetcher, pool, kept=64)
    for number in (1, 2, 3, 1):
        chunks.expect(BLOCK, ref(number))
        assert chunks.take(ref(number)) == ref(number).id
    assert fetcher.fetched.count(ref(1).id) == 2


def test_room_ends_at_the_bound_and_requests_come_in_batches(pool: ThreadPoolExecutor):
    fetcher = Fetcher()
    chunks = supply(fetcher, pool)
    number = 0
    while chunks.room:
        chunks.expect(BLOCK, ref(number))
        number += 1
    assert number == AHEAD
    for each in range(number):
        chunks.take(ref(each))
    assert chunks.room
    assert max(map(len, fetcher.requests)) == BATCH


def test_chunks_of_different_blocks_are_asked_for_apart(pool: ThreadPoolExecutor):
    fetcher = Fetcher()
    chunks = supply(fetcher, pool)
    chunks.expect(BLOCK, ref(1))
    chunks.expect(b"c" * 32, ref(2))
    chunks.take(ref(1))
    chunks.take(ref(2))
    assert fetcher.requests == [[ref(1).id], [ref(2).id]]


def test_fault_of_a_chunk_reaches_every_use_and_it_is_not_kept(pool: ThreadPoolExecutor):
    def broken(sealed, chunk_id, h):
        raise Damage("broken")

    fetcher = Fetcher()
    chunks = ChunkSupply(fetcher, broken, pool)
    chunks.expect(BLOCK, ref(1))
    chunks.expect(BLOCK, ref(1))
    for _ in range(2):
        with pytest.raises(Damage):
            chunks.take(ref(1))
    chunks.expect(BLOCK, ref(1))
    chunks.release(ref(1))
    assert chunks.room


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 12), max_size=80), st.integers(0, 400))
def test_any_order_of_uses_gets_what_it_asks_for(pool, uses: list[int], kept: int):
    fetcher = Fetcher()
    chunks = supply(fetcher, pool, kept)
    ahead = iter(uses)
    planned: list[int] = []
    for _ in uses:
        while chunks.room and len(planned) < 20 and (number := next(ahead, None)) is not None:
            chunks.expect(BLOCK, ref(number))
            planned.append(number)
        number = planned.pop(0)
        if number % 5 == 4:
            chunks.release(ref(number))
        else:
            assert chunks.take(ref(number)) == ref(number).id
    assert chunks._size <= kept
    assert not chunks._planned


def test_file_with_far_more_chunks_than_the_bound_is_restored(tmp_path: Path):
    pieces = [b"%04d" % (number % 90) * 100 for number in range(400)]
    content = b"".join(pieces)
    shelf = Shelf()
    shelf.snapshot([file(b"/f", content, pieces=pieces), file(b"/g", content[:400], pieces=pieces[:1])])
    done = restore(shelf, tmp_path / "t")
    assert done.result.errors == 0, done.errors
    assert (tmp_path / "t" / "f").read_bytes() == content
