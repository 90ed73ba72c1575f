"""What is in flight is bounded: unacknowledged PUTs, and requests without an answer."""

import pytest

from protocol.wire import FailureCode, LocalProtocolError, RemoteProtocolError, Role, limits, messages
from protocol.wire.errors import Violation
from protocol.wire.flight import Puts
from protocol.wire.pair import ConnectionPair

from . import samples

CHUNK = bytes(limits.MAX_SEALED)
SMALL = messages.Begun(
    session=samples.SESSION, fence=1, generation=1, head=samples.ZEROS, head_sequence=0, window=limits.MIN_WINDOW
)


def full() -> ConnectionPair:
    """A session whose window of one chunk is used up."""
    pair = samples.backing_up(begun=SMALL)
    assert pair.agent.can_put(limits.MAX_SEALED)
    pair.from_agent(samples.PUT, 0, CHUNK)
    return pair


def test_full_window_is_known_before_sending() -> None:
    pair = full()
    assert pair.agent.unacknowledged_bytes == limits.MAX_SEALED
    assert not pair.agent.can_put(1)


def test_put_beyond_the_window_is_not_sent() -> None:
    with pytest.raises(LocalProtocolError, match="window") as caught:
        full().agent.send(samples.PUT, 0, b"x")
    assert caught.value.code is FailureCode.TOO_LARGE


def test_put_beyond_the_window_is_refused_at_its_header() -> None:
    pair = full()
    with pytest.raises(RemoteProtocolError, match="window") as caught:
        samples.receive(pair, Role.AGENT, samples.frame(samples.PUT, 0, b"x")[:20])
    assert caught.value.code is FailureCode.TOO_LARGE


def test_acknowledgement_opens_the_window() -> None:
    pair = full()
    pair.from_gateway(messages.Stored(through=1))
    assert pair.agent.unacknowledged_bytes == pair.gateway.unacknowledged_bytes == 0
    pair.from_agent(samples.PUT, 0, CHUNK)
    assert (pair.agent.puts, pair.agent.acknowledged) == (pair.gateway.puts, pair.gateway.acknowledged) == (2, 1)


def test_commit_acknowledges_everything_before_it() -> None:
    pair = samples.committing()
    pair.from_gateway(samples.COMMITTED, 3)
    assert pair.agent.acknowledged == pair.gateway.acknowledged == 1
    assert pair.agent.unacknowledged_bytes == pair.gateway.unacknowledged_bytes == 0


def test_puts_are_numbered_through_several_sessions_of_a_connection() -> None:
    pair = samples.committing()
    pair.from_gateway(samples.COMMITTED, 3)
    pair.from_agent(samples.BEGIN, 4)
    pair.from_gateway(samples.BEGUN, 4)
    pair.from_agent(samples.PUT, 0, b"sealed")
    pair.from_gateway(messages.Stored(through=2))
    assert pair.agent.acknowledged == 2


def test_tiny_puts_are_bounded_by_number() -> None:
    puts = Puts()
    for _ in range(limits.MAX_PUTS_IN_FLIGHT):
        puts.put(1)
    with pytest.raises(Violation, match="window"):
        puts.put(1)
    puts.store(1)
    puts.put(1)


def test_requests_in_flight_are_bounded_on_both_sides() -> None:
    pair = samples.ready()
    for _ in range(limits.MAX_REQUESTS_IN_FLIGHT):
        pair.from_agent(messages.Ping(), pair.agent.new_request())
    assert pair.agent.requests_in_flight == limits.MAX_REQUESTS_IN_FLIGHT
    with pytest.raises(LocalProtocolError, match="in flight"):
        pair.agent.send(messages.Ping(), pair.agent.new_request())
    with pytest.raises(RemoteProtocolError, match="in flight") as caught:
        samples.receive(pair, Role.AGENT, samples.frame(messages.Ping(), 9_999))
    assert caught.value.code is FailureCode.TOO_LARGE


def test_unknown_requests_are_bounded_too() -> None:
    pair = samples.ready()
    for request in range(1, limits.MAX_REQUESTS_IN_FLIGHT + 1):
        samples.receive(pair, Role.AGENT, samples.raw_frame(99, b"\x80", request))
    with pytest.raises(RemoteProtocolError, match="in flight"):
        samples.receive(pair, Role.AGENT, samples.raw_frame(99, b"\x80", 0xFFFF))


def test_answered_id_may_be_used_again() -> None:
    pair = samples.ready()
    for _ in range(3):
        pair.from_agent(messages.Ping(), 5)
        pair.from_gateway(messages.Pong(), 5)


def test_new_request_ids_start_at_one_and_never_reach_zero() -> None:
    agent = samples.opening().agent
    assert [agent.new_request() for _ in range(3)] == [1, 2, 3]
    agent._last_request = limits.MAX_REQUEST_ID - 1
    assert [agent.new_request(), agent.new_request()] == [limits.MAX_REQUEST_ID, 1]


@pytest.mark.parametrize("request_id", [-1, limits.MAX_REQUEST_ID + 1])
def test_request_id_must_fit_the_header(request_id: int) -> None:
    with pytest.raises(LocalProtocolError, match="32-bit"):
        samples.ready().agent.send(messages.List(), request_id)


def test_limits_agree_with_the_stored_formats() -> None:
    from protocol.stored import chunks

    assert limits.MAX_SEALED == chunks.MAX_SEALED
