"""What may be said when: whole conversations, and every kind of fault told to its maker and refused by its receiver."""

from collections.abc import Callable, Sequence

import pytest

from protocol.wire import (
    Connection,
    Event,
    FailureCode,
    LocalProtocolError,
    MessageType,
    Phase,
    RemoteProtocolError,
    Role,
    limits,
    messages,
)
from protocol.wire.pair import ConnectionPair

from . import samples

A, G = Role.AGENT, Role.GATEWAY
pieces = pytest.mark.parametrize("piece", [None, 1, 19, 4096])


def only(events: Sequence[object]) -> Event:
    (event,) = events
    assert isinstance(event, Event)
    return event


@pieces
def test_enrolment_without_a_certificate(piece: int | None) -> None:
    pair = samples.enrolling(piece)
    event = only(pair.from_gateway(samples.ENROLLED, 2))
    assert event == Event(samples.ENROLLED, 2, b"")
    assert pair.agent.phase is pair.gateway.phase is Phase.ENROLLED
    pair.from_agent(messages.Goodbye(reason="I come back with my certificate."))
    pair.from_gateway(messages.Goodbye())
    assert pair.agent.phase is pair.gateway.phase is Phase.CLOSED


def test_refused_token_leaves_room_for_another_try() -> None:
    pair = samples.enrolling()
    pair.from_gateway(messages.Failure(code=FailureCode.TOKEN, message="This token cannot be used."), 2)
    assert pair.gateway.phase is Phase.STRANGER
    assert only(pair.from_agent(samples.ENROLL, 3)).message == samples.ENROLL


@pieces
def test_backup_from_begin_to_commit(piece: int | None) -> None:
    pair = samples.ready(piece)
    assert only(pair.from_agent(messages.Publish(machine_record=b"record"), 5)).request == 5
    pair.from_gateway(messages.Published(), 5)
    pair.from_agent(samples.BEGIN, 6)
    assert only(pair.from_gateway(samples.BEGUN, 6)).message == samples.BEGUN
    pair.from_agent(messages.Question(ids=samples.ID + samples.DIGEST), 7)
    assert only(pair.from_gateway(messages.Answer(missing=b"\x02"), 7)).message == messages.Answer(missing=b"\x02")
    sealed = bytes(range(256)) * 300
    event = only(pair.from_agent(samples.PUT, 0, sealed))
    assert (event.message, bytes(event.payload)) == (samples.PUT, sealed)
    pair.from_agent(messages.Flush(), 8)
    pair.from_gateway(messages.Stored(through=1))
    pair.from_gateway(messages.Flushed(), 8)
    event = only(pair.from_agent(samples.COMMIT, 9, samples.ROOT_FILE))
    assert (event.message, bytes(event.payload)) == (samples.COMMIT, samples.ROOT_FILE)
    assert only(pair.from_gateway(samples.COMMITTED, 9)).message == samples.COMMITTED
    assert pair.agent.phase is pair.gateway.phase is Phase.READY


def test_commit_is_repeated_after_missing_ids() -> None:
    pair = samples.committing()
    pair.from_gateway(messages.Missing(ids=samples.ID), 3)
    assert pair.agent.phase is Phase.BACKING_UP
    pair.from_agent(samples.PUT, 0, b"again")
    pair.from_agent(samples.COMMIT, 4, samples.ROOT_FILE)
    pair.from_gateway(samples.COMMITTED, 4)
    assert pair.gateway.phase is Phase.READY


def test_commit_is_repeated_after_a_failure() -> None:
    pair = samples.committing()
    pair.from_gateway(samples.REFUSED, 3)
    pair.from_agent(samples.COMMIT, 3, samples.ROOT_FILE)
    pair.from_gateway(samples.COMMITTED, 3)
    assert pair.agent.phase is pair.gateway.phase is Phase.READY


def test_acknowledgement_may_cross_the_commit() -> None:
    pair = samples.backing_up()
    pair.from_agent(samples.PUT, 0, b"sealed")
    commit = b"".join(pair.agent.send(samples.COMMIT, 3, samples.ROOT_FILE))
    pair.from_gateway(messages.Stored(through=1))
    assert pair.agent.acknowledged == 1
    pair.deliver(G, commit)
    assert pair.agent.phase is pair.gateway.phase is Phase.COMMITTING


def test_busy_machine_may_begin_again() -> None:
    pair = samples.beginning()
    pair.from_gateway(messages.Failure(code=FailureCode.BUSY, message="A backup is running.", retry_after=30), 2)
    assert pair.agent.phase is Phase.READY
    pair.from_agent(samples.BEGIN, 2)
    assert pair.gateway.phase is Phase.BEGINNING


@pieces
def test_restore_from_list_to_last_record(piece: int | None) -> None:
    pair = samples.ready(piece)
    pair.from_agent(messages.List(), 2)
    pair.from_agent(messages.Prove(scope_name="vega", signature=b"signature"), 3)
    pair.from_gateway(messages.Proved(machine_id=samples.MACHINE), 3)
    pair.from_gateway(messages.Snapshots(items=[]), 2)
    pair.from_agent(messages.Root(snapshot=samples.SNAPSHOT), 4)
    root_is = messages.RootIs(statement=b"s", recipients=[b"r"], machine_record=b"m", blocks=samples.ID)
    assert only(pair.from_gateway(root_is, 4, samples.ROOT_FILE)).payload == samples.ROOT_FILE
    pair.from_agent(samples.FETCH, 5)
    assert only(pair.from_gateway(samples.RECORD, 5, b"sealed")).payload == b"sealed"
    pair.from_gateway(samples.RECORD, 5, b"sealed")
    pair.from_gateway(messages.Fetched(), 5)
    assert pair.agent.requests_in_flight == 0


def test_block_itself_is_one_record() -> None:
    pair = samples.ready()
    pair.from_agent(messages.Fetch(snapshot=samples.SNAPSHOT, block=samples.ID), 2)
    pair.from_gateway(samples.RECORD, 2, b"block")
    with pytest.raises(LocalProtocolError, match="more often"):
        pair.from_gateway(samples.RECORD, 2, b"block")


def test_both_sides_keep_the_connection_alive() -> None:
    pair = samples.ready()
    for sender in Role:
        pair.send(sender, messages.Ping(time=7), 9)
        assert only(pair.send(sender.peer, messages.Pong(time=7), 9)).message == messages.Pong(time=7)


def test_status_may_be_asked_during_a_backup() -> None:
    pair = samples.committing()
    pair.from_agent(messages.Status(snapshots=samples.SNAPSHOT), 8)
    answer = messages.StatusIs(worker_alive=True, states={samples.SNAPSHOT.hex(): "received"})
    assert only(pair.from_gateway(answer, 8)).message == answer


def test_refused_hello_ends_the_gateways_voice() -> None:
    pair = samples.greeting()
    pair.from_gateway(messages.Failure(code=FailureCode.REVOKED, message="This machine was revoked."), 1)
    with pytest.raises(LocalProtocolError, match="ended its side"):
        pair.from_gateway(messages.Goodbye())


def test_gateway_may_refuse_before_hello() -> None:
    pair = samples.opening()
    hello = b"".join(pair.agent.send(samples.HELLO, 1))
    refusal = messages.Failure(code=FailureCode.BUSY, message="This gateway is full.", retry_after=60)
    assert only(pair.from_gateway(refusal)).message == refusal
    assert only(pair.deliver(G, hello)).message == samples.HELLO  # it crossed, and does no harm


def test_no_version_in_common_is_refused_at_hello() -> None:
    pair = samples.opening()
    with pytest.raises(RemoteProtocolError, match=r"offered 7, 9; known here 1") as caught:
        samples.receive(pair, A, samples.frame(messages.Hello(versions=[9, 7], agent_version="9"), 1))
    assert caught.value.code is FailureCode.VERSION


def test_newer_agent_agrees_on_the_version_that_both_know() -> None:
    pair = samples.opening()
    pair.from_agent(messages.Hello(versions=[1, 2], agent_version="2"), 1)
    assert pair.gateway.version == 1
    pair.from_gateway(samples.KNOWN, 1)
    assert pair.agent.version == 1


SetUp = Callable[[], ConnectionPair]
# what, phase, who breaks the rule, message, request, payload, code
FAULTS: list[tuple[str, SetUp, Role, messages.Message, int, bytes, FailureCode]] = [
    ("anything before hello", samples.opening, A, samples.BEGIN, 1, b"", FailureCode.PROTOCOL),
    ("ping before hello", samples.opening, A, messages.Ping(), 1, b"", FailureCode.PROTOCOL),
    ("welcome without hello", samples.opening, G, samples.KNOWN, 1, b"", FailureCode.PROTOCOL),
    ("hello twice", samples.ready, A, samples.HELLO, 2, b"", FailureCode.PROTOCOL),
    ("anything before welcome", samples.greeting, A, messages.Ping(), 2, b"", FailureCode.PROTOCOL),
    ("a version that was not offered", samples.greeting, G,
     messages.Welcome(version=2, server_version="2", nonce=samples.NONCE, ca=b"ca", time=1, authenticated=False),
     1, b"", FailureCode.VERSION),
    ("backup by a stranger", samples.stranger, A, samples.BEGIN, 2, b"", FailureCode.PROTOCOL),
    ("restore by a stranger", samples.stranger, A, messages.List(), 2, b"", FailureCode.PROTOCOL),
    ("put by a stranger", samples.stranger, A, samples.PUT, 0, b"sealed", FailureCode.PROTOCOL),
    ("enrolment by a machine", samples.ready, A, samples.ENROLL, 2, b"", FailureCode.PROTOCOL),
    ("enrolment while one waits", samples.enrolling, A, samples.ENROLL, 3, b"", FailureCode.PROTOCOL),
    ("question without a session", samples.ready, A, messages.Question(ids=samples.ID), 2, b"", FailureCode.PROTOCOL),
    ("put without a session", samples.ready, A, samples.PUT, 0, b"sealed", FailureCode.PROTOCOL),
    ("put before begun", samples.beginning, A, samples.PUT, 0, b"sealed", FailureCode.PROTOCOL),
    ("commit without a session", samples.ready, A, samples.COMMIT, 2, samples.ROOT_FILE, FailureCode.PROTOCOL),
    ("begin during a session", samples.backing_up, A, samples.BEGIN, 3, b"", FailureCode.PROTOCOL),
    ("restore during a session", samples.backing_up, A, samples.FETCH, 3, b"", FailureCode.PROTOCOL),
    ("list during a session", samples.backing_up, A, messages.List(), 3, b"", FailureCode.PROTOCOL),
    ("put while committing", samples.committing, A, samples.PUT, 0, b"sealed", FailureCode.PROTOCOL),
    ("commit while committing", samples.committing, A, samples.COMMIT, 4, samples.ROOT_FILE, FailureCode.PROTOCOL),
    ("the peer's message", samples.backing_up, A, messages.Stored(through=1), 0, b"", FailureCode.PROTOCOL),
    ("the agent's message", samples.backing_up, G, samples.PUT, 0, b"sealed", FailureCode.PROTOCOL),
    ("request without an id", samples.ready, A, messages.List(), 0, b"", FailureCode.PROTOCOL),
    ("request id in use", samples.fetching, A, messages.List(), 2, b"", FailureCode.PROTOCOL),
    ("notice with an id", samples.backing_up, A, samples.PUT, 3, b"sealed", FailureCode.PROTOCOL),
    ("goodbye with an id", samples.ready, A, messages.Goodbye(), 3, b"", FailureCode.PROTOCOL),
    ("answer without a request", samples.ready, G, messages.Snapshots(items=[]), 2, b"", FailureCode.PROTOCOL),
    ("answer to another request", samples.fetching, G, messages.Snapshots(items=[]), 2, b"", FailureCode.PROTOCOL),
    ("failure of no request", samples.ready, G, samples.REFUSED, 2, b"", FailureCode.PROTOCOL),
    ("answer with id 0", samples.fetching, G, messages.Fetched(), 0, b"", FailureCode.PROTOCOL),
    ("stored without a put", samples.backing_up, G, messages.Stored(through=1), 0, b"", FailureCode.PROTOCOL),
    ("stored beyond the last put", samples.committing, G, messages.Stored(through=2), 0, b"", FailureCode.PROTOCOL),
    ("payload where none belongs", samples.ready, A, messages.List(), 2, b"x", FailureCode.TOO_LARGE),
    ("put without payload", samples.backing_up, A, samples.PUT, 0, b"", FailureCode.PROTOCOL),
    ("put beyond a sealed chunk", samples.backing_up, A, samples.PUT, 0, bytes(limits.MAX_SEALED + 1),
     FailureCode.TOO_LARGE),
    ("record beyond a sealed chunk", samples.fetching, G, samples.RECORD, 2, bytes(limits.MAX_SEALED + 1),
     FailureCode.TOO_LARGE),
    ("root too short", samples.backing_up, A, samples.COMMIT, 3, bytes(limits.MIN_ROOT - 1), FailureCode.PROTOCOL),
]  # fmt: skip
faults = pytest.mark.parametrize(
    ("set_up", "sender", "message", "request_id", "payload", "code"),
    [row[1:] for row in FAULTS],
    ids=[row[0].replace(" ", "-") for row in FAULTS],
)


@faults
def test_fault_is_told_to_its_maker(
    set_up: SetUp, sender: Role, message: messages.Message, request_id: int, payload: bytes, code: FailureCode
) -> None:
    end = set_up().of(sender)
    with pytest.raises(LocalProtocolError) as caught:
        end.send(message, request_id, payload)
    assert caught.value.code is code
    assert end.phase is Phase.FAILED


@faults
def test_fault_is_refused_by_its_receiver(
    set_up: SetUp, sender: Role, message: messages.Message, request_id: int, payload: bytes, code: FailureCode
) -> None:
    pair = set_up()
    with pytest.raises(RemoteProtocolError) as caught:
        samples.receive(pair, sender, samples.frame(message, request_id, payload))
    assert caught.value.code is code
    assert pair.of(sender.peer).phase is Phase.FAILED


def test_fault_of_a_direction_says_so() -> None:
    with pytest.raises(RemoteProtocolError, match="STORED is not for the agent to send"):
        samples.receive(samples.backing_up(), A, samples.frame(messages.Stored(through=1)))


@pytest.mark.parametrize("bitmap", [b"\x01\x00", b"\x04", b"\x80"])
def test_answer_must_fit_its_question(bitmap: bytes) -> None:
    for pair, act in [(asking(2), "send"), (asking(2), "receive")]:
        message = messages.Answer(missing=bitmap)
        with pytest.raises(LocalProtocolError if act == "send" else RemoteProtocolError, match="ANSWER"):
            pair.gateway.send(message, 3) if act == "send" else samples.receive(pair, G, samples.frame(message, 3))


@pytest.mark.parametrize(("ids", "bitmap"), [(1, b"\x01"), (8, b"\xff"), (9, b"\xff\x01"), (4096, b"\xff" * 512)])
def test_answer_may_mark_every_id(ids: int, bitmap: bytes) -> None:
    assert only(asking(ids).from_gateway(messages.Answer(missing=bitmap), 3)).message == messages.Answer(missing=bitmap)


def asking(ids: int) -> ConnectionPair:
    pair = samples.backing_up()
    pair.from_agent(messages.Question(ids=samples.ID * ids), 3)
    return pair


def test_more_records_than_asked_for_are_refused() -> None:
    pair = samples.fetching()
    for _ in range(2):
        pair.from_gateway(samples.RECORD, 2, b"sealed")
    with pytest.raises(RemoteProtocolError, match="more often"):
        samples.receive(pair, G, samples.frame(samples.RECORD, 2, b"sealed"))


def test_flushed_needs_the_acknowledgement_of_every_put_before_the_flush() -> None:
    pair = samples.backing_up()
    for _ in range(3):
        pair.from_agent(samples.PUT, 0, b"sealed")
    pair.from_agent(messages.Flush(), 3)
    pair.from_agent(samples.PUT, 0, b"sealed")  # after the flush: it need not be stored
    pair.from_gateway(messages.Stored(through=2))
    with pytest.raises(RemoteProtocolError, match="2 of 3"):
        samples.receive(pair, G, samples.frame(messages.Flushed(), 3))


def test_flushed_may_leave_later_puts_unacknowledged() -> None:
    pair = samples.backing_up()
    pair.from_agent(samples.PUT, 0, b"sealed")
    pair.from_agent(messages.Flush(), 3)
    pair.from_agent(samples.PUT, 0, b"sealed")
    pair.from_gateway(messages.Stored(through=1))
    pair.from_gateway(messages.Flushed(), 3)
    assert pair.agent.unacknowledged_bytes == len(b"sealed")


@pytest.mark.parametrize("again", [1, 2])
def test_acknowledgements_rise(again: int) -> None:
    pair = samples.backing_up()
    for _ in range(3):
        pair.from_agent(samples.PUT, 0, b"sealed")
    pair.from_gateway(messages.Stored(through=2))
    with pytest.raises(RemoteProtocolError, match="outside 3 to 3"):
        samples.receive(pair, G, samples.frame(messages.Stored(through=again)))


def test_nothing_follows_a_goodbye() -> None:
    pair = samples.ready()
    pair.from_agent(messages.Goodbye())
    with pytest.raises(RemoteProtocolError, match="had ended its side"):
        samples.receive(pair, A, samples.frame(messages.Ping(), 3))
    with pytest.raises(LocalProtocolError, match="had ended its side"):
        pair.agent.send(messages.Ping(), 3)


def test_nothing_follows_a_closing_failure() -> None:
    pair = samples.ready()
    pair.from_gateway(messages.Failure(code=FailureCode.FENCED, message="A newer connection took over."))
    with pytest.raises(RemoteProtocolError, match="had ended its side"):
        samples.receive(pair, G, samples.raw_frame(200))


def test_answers_may_follow_the_peers_goodbye() -> None:
    pair = samples.fetching()
    pair.from_agent(messages.Goodbye())
    assert only(pair.from_gateway(messages.Fetched(), 2)).message == messages.Fetched()
    pair.from_gateway(messages.Goodbye())
    assert pair.agent.phase is pair.gateway.phase is Phase.CLOSED


def test_message_types_of_the_future_are_refused_politely() -> None:
    pair = samples.ready()
    (event,) = samples.receive(pair, A, samples.raw_frame(99, b"\x80", 5, b"x" * 300_000))
    assert (event.type, event.request) == (99, 5)
    assert only(pair.deliver(G, b"") + samples.receive(pair, A, samples.frame(messages.List(), 6))).request == 6
    (frame,) = pair.gateway.send(event.failure, event.request)
    assert bytes(frame)[3] == MessageType.FAILURE
    assert event.failure.code == FailureCode.UNSUPPORTED


def test_future_notice_is_skipped_without_an_answer() -> None:
    pair = samples.backing_up()
    (event,) = samples.receive(pair, G, samples.raw_frame(250, b"\x80"))
    assert (event.type, event.request) == (250, 0)
    assert only(pair.from_agent(samples.PUT, 0, b"sealed")).payload == b"sealed"


def test_future_request_takes_its_id_until_it_is_answered() -> None:
    pair = samples.ready()
    samples.receive(pair, A, samples.raw_frame(99, b"\x80", 5))
    with pytest.raises(LocalProtocolError, match="which has type 99"):
        pair.gateway.send(messages.Snapshots(items=[]), 5)


@pytest.mark.parametrize("set_up", [samples.opening, samples.greeting, samples.stranger, samples.enrolling])
def test_message_types_of_the_future_are_fatal_from_a_stranger(set_up: SetUp) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        samples.receive(set_up(), A, samples.raw_frame(99, b"\x80", 5))
    assert caught.value.code is FailureCode.UNSUPPORTED


def test_agents_request_for_an_unknown_role_is_not_possible() -> None:
    assert Role.AGENT.peer is Role.GATEWAY
    assert Role.GATEWAY.peer is Role.AGENT
    assert Connection(Role.AGENT).role is Role.AGENT
