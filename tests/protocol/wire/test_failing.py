"""After a fault: one last word, and nothing else."""

import pytest

from protocol.wire import Event, FailureCode, LocalProtocolError, Phase, RemoteProtocolError, Role, limits, messages
from protocol.wire.errors import ProtocolError
from protocol.wire.pair import ConnectionPair

from . import samples


def failed() -> tuple[ConnectionPair, ProtocolError]:
    """A gateway that was sent a frame which is none."""
    pair = samples.ready()
    with pytest.raises(RemoteProtocolError) as caught:
        samples.receive(pair, Role.AGENT, b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n")
    return pair, caught.value


def test_failed_connection_refuses_everything() -> None:
    pair, _ = failed()
    for act in (
        pair.gateway.next_event,
        pair.gateway.buffer,
        lambda: pair.gateway.receive_data(b"x"),
        lambda: pair.gateway.send(messages.Ping(), 1),
    ):
        with pytest.raises(LocalProtocolError):
            act()
    assert pair.gateway.phase is Phase.FAILED


def test_refusal_tells_the_peer_why() -> None:
    pair, error = failed()
    (event,) = pair.deliver(Role.AGENT, b"".join(pair.gateway.refusal(error, retry_after=2)))
    assert isinstance(event, Event)
    failure = event.message
    assert isinstance(failure, messages.Failure)
    assert (failure.code, failure.message, failure.retry_after) == (FailureCode.PROTOCOL, error.what, 2)
    assert event.request == 0


def test_refusal_is_said_once() -> None:
    pair, error = failed()
    assert pair.gateway.refusal(error)
    assert pair.gateway.refusal(error) == []


def test_refusal_is_not_said_after_goodbye_or_to_nobody() -> None:
    error = RemoteProtocolError(FailureCode.PROTOCOL, "no")
    pair = samples.ready()
    pair.from_gateway(messages.Goodbye())
    assert pair.gateway.refusal(error) == []
    pair.agent.receive_eof()
    assert pair.agent.refusal(error) == []


def test_refusal_ends_a_healthy_connection_too() -> None:
    gateway = samples.ready().gateway
    assert gateway.refusal(RemoteProtocolError(FailureCode.TEMPORARY, "Shutting down."))
    assert gateway.phase is Phase.FAILED


@pytest.mark.parametrize(("what", "retry_after"), [("x" * 5_000, None), ("x", -1.0)])
def test_refusal_never_fails_itself(what: str, retry_after: float | None) -> None:
    pair = samples.ready()
    frames = pair.gateway.refusal(RemoteProtocolError(FailureCode.RATE, what), retry_after)
    (event,) = pair.deliver(Role.AGENT, b"".join(frames))
    assert isinstance(event, Event)
    assert isinstance(event.message, messages.Failure)
    assert event.message.message == what[: limits.MAX_TEXT]


def test_refused_message_sends_nothing_and_ends_the_conversation() -> None:
    pair = samples.ready()
    with pytest.raises(LocalProtocolError):
        pair.agent.send(samples.PUT, 0, b"sealed")
    with pytest.raises(LocalProtocolError, match="has failed"):
        pair.agent.send(messages.Ping(), 5)


def test_events_before_the_fault_are_delivered() -> None:
    gateway = samples.ready().gateway
    gateway.receive_data(samples.frame(messages.Ping(time=1), 5) + b"garbage" * 10)
    event = gateway.next_event()
    assert isinstance(event, Event)
    assert event.message == messages.Ping(time=1)
    with pytest.raises(RemoteProtocolError, match="magic"):
        gateway.next_event()


def test_the_two_kinds_of_error_are_protocol_errors_with_a_code() -> None:
    for kind in (LocalProtocolError, RemoteProtocolError):
        error = kind(FailureCode.RATE, "Too many questions.")
        assert isinstance(error, ProtocolError)
        assert (error.code, error.what, str(error)) == (FailureCode.RATE, "Too many questions.", "Too many questions.")
    assert not issubclass(LocalProtocolError, RemoteProtocolError)
