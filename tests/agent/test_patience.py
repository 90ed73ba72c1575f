"""How long to try again, and when to stop."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agents.transport.retrying import JITTER, Patience


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_waits_are_0_2_4_8_and_then_8():
    patience = Patience(1000, Clock(), lambda: 0.5)
    assert [patience.wait() for _ in range(6)] == [0, 2, 4, 8, 8, 8]


def test_patience_begins_anew_after_progress():
    clock = Clock()
    patience = Patience(10, clock, lambda: 0.5)
    assert patience.wait() == 0
    clock.now += 11
    assert patience.wait() is None
    patience.reset()
    assert patience.wait() == 0


def test_no_patience_is_no_second_attempt():
    assert Patience(0).wait() is None


def test_wait_that_the_server_asks_for_is_kept_and_one_beyond_the_end_is_useless():
    patience = Patience(60, Clock(), lambda: 0.5)
    assert patience.wait(at_least=30) == 30
    assert patience.wait(at_least=61) is None


@given(st.floats(0, 300), st.lists(st.floats(0, 1), min_size=1, max_size=200))
def test_patience_always_ends_in_time(retry_for: float, chances: list[float]):
    clock = Clock()
    drawn = iter(chances * 200)
    patience = Patience(retry_for, clock, lambda: next(drawn))
    attempts = 0
    while (seconds := patience.wait()) is not None:
        clock.now += seconds + 0.01
        attempts += 1
        assert seconds <= 8 * (1 + JITTER)
    assert clock.now - 100 <= retry_for + 0.1
    assert attempts <= retry_for / 0.01 + 2
