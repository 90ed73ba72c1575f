"""Whatever comes in, only documented errors come out, and memory stays bounded."""

import contextlib
import random
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.wire import LocalProtocolError, Phase, RemoteProtocolError, Role, limits, messages
from protocol.wire.codec import KINDS
from protocol.wire.pair import ConnectionPair, drain

from . import samples

PHASES = (
    samples.opening, samples.greeting, samples.stranger, samples.enrolling, samples.ready, samples.beginning,
    samples.backing_up, samples.committing, samples.fetching, samples.joining, samples.controlling,
)  # fmt: skip
CORPUS = [
    samples.frame(samples.HELLO, 1), samples.frame(samples.KNOWN, 1), samples.frame(samples.ENROLL, 2),
    samples.frame(samples.BEGIN, 2), samples.frame(samples.BEGUN, 2), samples.frame(samples.COMMITTED, 3),
    samples.frame(samples.PUT, 0, b"sealed" * 20), samples.frame(samples.COMMIT, 3, samples.ROOT_FILE),
    samples.frame(messages.Question(ids=samples.ID * 3), 4), samples.frame(samples.RECORD, 2, b"sealed"),
    samples.frame(messages.Fetched(), 2), samples.frame(messages.Ping(), 9), samples.frame(messages.Goodbye()),
    samples.frame(samples.CONTROL, 2), samples.frame(samples.CONTROLLED, 2), samples.frame(samples.PROGRESS),
    samples.frame(samples.REPORT, 3), samples.frame(samples.OFFER, 3),
    samples.frame(messages.Accepted(accepted=True), 3), samples.frame(samples.REFUSED, 3),
    samples.raw_frame(99, b"\x80", 5, b"x" * 50),
]  # fmt: skip


def feed(pair: ConnectionPair, role: Role, data: bytes, piece: int) -> None:
    """All of it, or up to the first documented error; anything else fails the test."""
    end = pair.of(role)
    with contextlib.suppress(RemoteProtocolError):
        for offset in range(0, len(data), piece):
            end.receive_data(data[offset : offset + piece])
            drain(end)
        end.receive_eof()
        drain(end)
        assert end.phase is Phase.CLOSED
        return
    assert end.phase is Phase.FAILED
    with pytest.raises(LocalProtocolError):
        end.next_event()


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(PHASES), st.sampled_from(Role), st.binary(max_size=300), st.integers(1, 50))
def test_random_bytes_bring_only_documented_errors(
    set_up: Callable[[], ConnectionPair], role: Role, data: bytes, piece: int
) -> None:
    feed(set_up(), role, data, piece)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(PHASES), st.sampled_from(Role), st.sampled_from(sorted(KINDS)), st.binary(max_size=100),
    st.integers(0, 5), st.binary(max_size=200),
)  # fmt: skip
def test_well_formed_frames_with_random_bodies_bring_only_documented_errors(
    set_up: Callable[[], ConnectionPair], role: Role, code: int, body: bytes, request: int, payload: bytes
) -> None:
    feed(set_up(), role, samples.raw_frame(code, body, request, payload), 1_000)


@pytest.mark.parametrize("set_up", PHASES)
@pytest.mark.parametrize("role", Role)
def test_mutated_conversations_bring_only_documented_errors(set_up: Callable[[], ConnectionPair], role: Role) -> None:
    dice = random.Random(f"{set_up.__name__}{role}")
    for _ in range(120):
        data = bytearray(b"".join(dice.choices(CORPUS, k=dice.randint(1, 5))))
        for _ in range(dice.randint(1, 6)):
            mutate(data, dice)
        feed(set_up(), role, bytes(data), dice.choice([1, 13, 4_096]))


def mutate(data: bytearray, dice: random.Random) -> None:
    place = dice.randrange(len(data)) if data else 0
    match dice.randint(0, 3):
        case 0 if data:
            data[place] ^= 1 << dice.randrange(8)
        case 1:
            data[place : place + dice.randint(1, 8)] = b""
        case 2:
            data[place:place] = dice.randbytes(dice.randint(1, 8))
        case _:
            data[place : place + 4] = dice.choice([b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x7f\xff\xff\xff"])


def test_hostile_lengths_cost_a_bounded_amount_of_memory() -> None:
    dice = random.Random(7)
    tracemalloc.start()
    try:
        for number in range(300):
            data = bytearray(CORPUS[number % len(CORPUS)])
            data[12:20] = dice.randbytes(8)
            feed(PHASES[number % len(PHASES)](), Role(dice.choice(["agent", "gateway"])), bytes(data), 4_096)
            tracemalloc.clear_traces() if number % 50 == 0 else None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * limits.MAX_RECEIVE_MEMORY
