"""The pipeline: nothing is asked or sent twice, memory is bounded, one fault ends everything once."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import Future

import pytest
from blake3 import blake3

from agents.engine import pipeline as pipeline_module
from agents.engine.cache import CacheFault
from agents.engine.compression import CompressionJudge, group_of
from agents.engine.pipeline import Pipeline
from agents.engine.sealing import ChunkSealer, VaultSecrets
from agents.engine.slots import Slot
from agents.errors import Disconnected
from tests.engine.machines import SECRET, VAULT_ID, Counting
from tests.engine.memory_link import MemoryLink, Vault

SEALER = ChunkSealer(VaultSecrets(VAULT_ID, 1, SECRET))


@pytest.fixture
def link():
    made = MemoryLink(Vault(), b"m" * 16)
    yield made
    made.close()


def make(link: MemoryLink) -> Pipeline:
    return Pipeline(link, SEALER, CompressionJudge(), Counting(), workers=2)


def test_chunks_are_identified_asked_sealed_and_put(link):
    data = [os.urandom(100_000) for _ in range(20)]
    slots = [Slot() for _ in data]
    with make(link) as pipeline:
        for each, slot in zip(data, slots, strict=True):
            pipeline.submit((each[:10], each[10:]), slot)
        pipeline.finish()
    for each, slot in zip(data, slots, strict=True):
        assert SEALER.open(link.vault.records[1, slot.id], slot.id, slot.h) == each
    assert pipeline.chunks_sent == 20
    assert pipeline.bytes_sent == link.bytes_put
    assert len(link.asked) < 20


def test_equal_chunks_are_asked_and_sent_once(link):
    slots = [Slot() for _ in range(50)]
    with make(link) as pipeline:
        for slot in slots:
            pipeline.submit((b"the same",), slot)
        pipeline.finish()
    assert {slot.id for slot in slots} == {slots[0].id}
    assert (pipeline.chunks_sent, link.asked_ids) == (1, 1)


def test_chunks_that_the_server_has_are_not_sealed(link):
    _, chunk_id = SEALER.identify(b"known")
    link.vault.records[1, chunk_id] = b"there"
    with make(link) as pipeline:
        pipeline.submit((b"known",), Slot())
        pipeline.finish()
    assert link.puts == []


def test_blocks_go_in_clear_under_their_own_hash(link):
    block = b"STRM a block"
    with make(link) as pipeline:
        pipeline.submit_block(block, blake3(block).digest())
        pipeline.finish()
    assert link.vault.records == {(2, blake3(block).digest()): block}
    assert pipeline.chunks_sent == 0


def test_plaintext_under_way_is_bounded_while_answers_are_late(link):
    late: list[tuple[Future, list[bytes]]] = []

    def ask(ids):
        future: Future = Future()
        late.append((future, ids))
        return future

    link.ask = ask
    most = 0
    with make(link) as pipeline:

        def read() -> None:
            for _ in range(80):
                pipeline.submit((os.urandom(1 << 20),), Slot())

        reader = threading.Thread(target=read)
        reader.start()
        deadline = time.monotonic() + 20
        while (reader.is_alive() or late or pipeline._open_items) and time.monotonic() < deadline:
            most = max(most, pipeline._under_way)
            if late and (not reader.is_alive() or pipeline._waiting):
                future, ids = late.pop(0)
                future.set_result(set(ids))
            time.sleep(0.001)
        reader.join()
        pipeline.finish()
    assert pipeline_module.BUDGET // 2 < most <= pipeline_module.BUDGET
    assert pipeline.chunks_sent == 80


def submit_many(made: Pipeline) -> None:
    with made as pipeline:
        for number in range(1000):
            pipeline.submit((b"%d" % number * 10_000,), Slot())
        pipeline.finish()


def damage_the_cache(made: Pipeline) -> None:
    with made as pipeline:
        pipeline.submit((b"data",), Slot())
        raise CacheFault("it is damaged")


@pytest.mark.parametrize("where", ["ask", "answer", "put", "seal"])
def test_fault_of_any_thread_is_raised_once_and_stops_everything(link, monkeypatch, where):
    fault = Disconnected("The connection broke.")

    def fail(*_: object, **__: object) -> None:
        raise fault

    if where == "answer":
        broken: Future = Future()
        broken.set_exception(fault)
        monkeypatch.setattr(link, "ask", lambda ids: broken)
    elif where == "seal":
        monkeypatch.setattr(ChunkSealer, "seal", fail)
    else:
        monkeypatch.setattr(link, where, fail)
    with pytest.raises(Disconnected) as raised:
        submit_many(make(link))
    assert raised.value is fault
    assert link._interrupted.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("sealing-")]


def test_fault_of_the_cache_leaves_the_link_usable(link):
    with pytest.raises(CacheFault):
        damage_the_cache(make(link))
    assert not link._interrupted.is_set()


def test_judge_tells_text_from_noise_and_counts():
    judge = CompressionJudge()
    assert judge.is_worth_it(b"some words, again and again. " * 40_000)
    assert not judge.is_worth_it(os.urandom(1 << 20))
    assert judge.is_worth_it(os.urandom(700_000) + bytes(300_000))
    assert judge.is_worth_it(b"")
    judge.record("text", 100, 30, skipped=False)
    judge.record("text", 100, 100, skipped=True)
    assert (judge.effect()["text"].plain, judge.effect()["text"].sealed, judge.effect()["text"].skipped) == (
        200,
        130,
        100,
    )


@pytest.mark.parametrize(
    ("path", "group"),
    [(b"/a/B.JPG", "images"), (b"/a/x.tar.gz", "archives"), (b"/a.d/x", "other"), (b"/\xff.\xff", "other")],
)
def test_files_are_grouped_by_extension(path, group):
    assert group_of(path) == group
