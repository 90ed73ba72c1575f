"""Waiting for cold storage: asked for once and altogether, bounded, and never a loop."""

from __future__ import annotations

import threading

import pytest

from agents.errors import AgentError, Refused, WaitedTooLong
from agents.transport import thawing
from agents.transport.thawing import Thawing, ThawScope
from protocol.wire import messages

SNAPSHOT = bytes(16)
MOMENT = 1 / 3600 / 10
READY = messages.Thawing()


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thawing, "SHORTEST_PAUSE", 0.001)


class Requests:
    """Some requests that met cold storage, and what became of them."""

    def __init__(self, made: Thawing, ask, count: int = 1) -> None:
        self.sent, self.faults, self._done = 0, list[AgentError](), threading.Semaphore(0)
        for _ in range(count):
            made.put_off(ask, self._again, self._fail)
        for _ in range(count):
            assert self._done.acquire(timeout=60)

    def _again(self) -> None:
        self.sent += 1
        self._done.release()

    def _fail(self, fault: AgentError) -> None:
        self.faults.append(fault)
        self._done.release()


def test_all_is_asked_for_in_a_few_questions_before_anybody_waits():
    blocks = [number.to_bytes(32, "big") for number in range(600)]
    asked: list[int] = []
    states = iter([messages.Thawing(asked=9, waiting=9, more=True), *[messages.Thawing(waiting=9)] * 3])

    def ask(message: messages.Thaw) -> messages.Thawing:
        asked.append(len(message.blocks) // 32)
        return next(states, READY)

    done = Requests(Thawing(ThawScope(SNAPSHOT, blocks), 1, lambda sentence: None), ask, count=3)
    assert asked[:4] == [256, 256, 256, 88]
    assert (done.sent, done.faults) == (3, [])


def test_waiting_ends_and_says_how_to_go_on():
    said: list[str] = []
    made = Thawing(ThawScope(SNAPSHOT), MOMENT, said.append)
    done = Requests(made, lambda message: messages.Thawing(waiting=2, bytes=5 << 20, retry_after=0.01))
    (fault,) = done.faults
    assert isinstance(fault, WaitedTooLong)
    assert "2 packs (5 MiB)" in fault.what
    assert "--resume" in fault.advice
    assert len(said) == 1, "the same is said once"


def test_who_waits_for_nothing_has_asked_all_the_same():
    asked = []

    def ask(message: messages.Thaw) -> messages.Thawing:
        asked.append(message)
        return messages.Thawing(asked=1, waiting=1)

    done = Requests(Thawing(ThawScope(SNAPSHOT), 0, lambda sentence: None), ask)
    assert len(asked) == 1
    assert isinstance(done.faults[0], WaitedTooLong)


def test_storage_that_gives_nothing_and_says_that_it_has_is_given_up():
    made = Thawing(ThawScope(SNAPSHOT), 24, lambda sentence: None)
    for _ in range(thawing.FUTILE):
        assert Requests(made, lambda message: READY).sent == 1
    assert "still cannot be read" in Requests(made, lambda message: READY).faults[0].what
    made.arrived()
    assert Requests(made, lambda message: READY).sent == 1


def test_what_ends_the_connection_ends_the_waiting():
    def ask(message: messages.Thaw) -> messages.Thawing:
        raise Refused("The connection was closed.")

    done = Requests(Thawing(ThawScope(SNAPSHOT), 24, lambda sentence: None), ask)
    assert isinstance(done.faults[0], Refused)


@pytest.mark.defence
def test_a_server_that_always_knows_more_to_look_at_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(thawing, "LOOKING", 0.05)
    made = Thawing(ThawScope(SNAPSHOT), 0, lambda sentence: None)
    done = Requests(made, lambda message: messages.Thawing(more=True, retry_after=0))
    assert isinstance(done.faults[0], WaitedTooLong)
    assert "come to an end" in done.faults[0].what


@pytest.mark.defence
def test_whatever_ends_the_waiting_those_who_wait_hear_of_it():
    """A terminal that was closed, a fault of this program: a restore that hears nothing would wait for ever."""

    def tell(sentence: str) -> None:
        raise BrokenPipeError

    made = Thawing(ThawScope(SNAPSHOT), 24, tell)
    for _ in range(2):
        (fault,) = Requests(made, lambda message: messages.Thawing(waiting=1)).faults
        assert "BrokenPipeError" in fault.what
