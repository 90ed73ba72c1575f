"""The tables of the conversation: complete, and safe when messages cross on the way."""

import random
from collections import deque
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.wire import Event, MessageType, Phase, Role, codec, messages
from protocol.wire.codec import KINDS, Manner
from protocol.wire.errors import Violation
from protocol.wire.pair import ConnectionPair, drain
from protocol.wire.states import MAY_OPEN, TURNS, Act, turn

from . import samples


def test_tables_cover_every_phase() -> None:
    assert set(MAY_OPEN) == set(TURNS) == set(Phase)
    assert all(set(allowed) == set(Role) for allowed in MAY_OPEN.values())


def test_every_phase_of_the_tables_can_be_reached_from_opening() -> None:
    reached, new = set(), {Phase.OPENING}
    while new:
        reached |= new
        new = {following for phase in new for following in TURNS[phase].values()} - reached
    assert reached == set(Phase) - {Phase.CLOSED, Phase.FAILED}


def test_every_act_turns_some_phase() -> None:
    assert {act for turns in TURNS.values() for _, act in turns} == set(Act)


def test_every_request_and_notice_may_be_sent_somewhere_by_its_senders_only() -> None:
    opened = {(role, kind) for allowed in MAY_OPEN.values() for role, kinds in allowed.items() for kind in kinds}
    manners = (Manner.REQUEST, Manner.NOTICE)
    expected = {(role, kind.code) for kind in KINDS.values() if kind.manner in manners for role in kind.senders}
    always = {(role, MessageType.GOODBYE) for role in Role}
    assert opened == expected - always


def test_turning_requests_are_allowed_exactly_where_they_turn() -> None:
    turning = {Act.HELLO, Act.ENROLL, Act.BEGIN, Act.COMMIT, Act.CONTROL}
    for phase, turns in TURNS.items():
        acts = {act.name for sender, act in turns if sender is Role.AGENT}
        allowed = {kind.name for kind in MAY_OPEN[phase][Role.AGENT]} & {act.name for act in turning}
        assert acts == allowed


@pytest.mark.parametrize("phase", Phase)
def test_what_is_on_its_way_stays_allowed_when_the_other_side_turns_the_phase(phase: Phase) -> None:
    for (sender, _), following in TURNS[phase].items():
        other = sender.peer
        assert MAY_OPEN[phase][other] <= MAY_OPEN[following][other]


@pytest.mark.parametrize("phase", Phase)
def test_a_phase_is_turned_by_one_party_only(phase: Phase) -> None:
    assert len({sender for sender, _ in TURNS[phase]}) <= 1


def test_restore_verbs_have_no_place_while_a_session_is_open() -> None:
    restoring = {MessageType.LIST, MessageType.ROOT, MessageType.FETCH, MessageType.PROVE}
    restoring |= {MessageType.EXPLAIN, MessageType.DRILLED, MessageType.THAW}
    for phase in set(Phase) - {Phase.READY}:
        assert not restoring & MAY_OPEN[phase][Role.AGENT]


def test_a_stranger_may_only_enrol() -> None:
    assert MAY_OPEN[Phase.STRANGER][Role.AGENT] == {MessageType.ENROLL, MessageType.PING}


class Walk:
    """Two honest ends that send whatever their own tables allow, over wires on which bytes linger."""

    def __init__(self, pair: ConnectionPair) -> None:
        self.pair = pair
        self.wires: dict[Role, deque[bytes]] = {role: deque() for role in Role}  # by receiver
        self.waiting: dict[Role, list[tuple[int, messages.Message]]] = {role: [] for role in Role}  # to be answered
        self.seen: set[Phase] = set()

    def send(self, sender: Role, message: messages.Message, request: int = 0, payload: bytes = b"") -> None:
        end = self.pair.of(sender)
        self.wires[sender.peer].append(b"".join(end.send(message, request, payload)))
        self.seen.add(end.phase)

    def deliver(self, receiver: Role) -> None:
        if not self.wires[receiver]:
            return
        end = self.pair.of(receiver)
        end.receive_data(self.wires[receiver].popleft())
        for event in drain(end):
            assert isinstance(event, Event)
            if KINDS_BY_CLASS[type(event.message)].manner is Manner.REQUEST:
                self.waiting[receiver].append((event.request, event.message))

    def open_something(self, sender: Role, choice: int) -> None:
        end = self.pair.of(sender)
        allowed = sorted(kind for kind in MAY_OPEN[end.phase][sender] if end._talk.knows(KINDS[kind]))
        if not allowed:
            return
        kind = allowed[choice % len(allowed)]
        if kind is MessageType.STORED and end.acknowledged == end.puts:
            return
        message = OPENERS[kind] if kind is not MessageType.STORED else messages.Stored(through=end.puts)
        payload = {MessageType.PUT: b"sealed", MessageType.COMMIT: samples.ROOT_FILE}.get(kind, b"")
        request = end.new_request() if KINDS[kind].manner is Manner.REQUEST else 0
        self.send(sender, message, request, payload)

    def answer(self, sender: Role, choice: int) -> None:
        if not self.waiting[sender]:
            return
        request, asked = self.waiting[sender].pop(choice % len(self.waiting[sender]))
        options = answers_to(asked)
        answer = options[choice % len(options)]
        end = self.pair.of(sender)
        if isinstance(answer, messages.Flushed) and end.acknowledged < end.puts:
            self.send(sender, messages.Stored(through=end.puts))
        self.send(sender, answer, request, samples.ROOT_FILE if isinstance(answer, messages.RootIs) else b"")


KINDS_BY_CLASS = {kind.cls: kind for kind in KINDS.values()}
OPENERS: dict[MessageType, messages.Message] = {
    MessageType.HELLO: samples.HELLO,
    MessageType.ENROLL: samples.ENROLL,
    MessageType.PUBLISH: messages.Publish(machine_record=b"record"),
    MessageType.PING: messages.Ping(time=1),
    MessageType.BEGIN: samples.BEGIN,
    MessageType.QUESTION: messages.Question(ids=samples.ID),
    MessageType.PUT: samples.PUT,
    MessageType.FLUSH: messages.Flush(),
    MessageType.COMMIT: samples.COMMIT,
    MessageType.LIST: messages.List(),
    MessageType.PROVE: messages.Prove(scope_name="vega", signature=b"signature"),
    MessageType.ROOT: messages.Root(snapshot=samples.SNAPSHOT),
    MessageType.FETCH: samples.FETCH,
    MessageType.EXPLAIN: samples.EXPLAIN,
    MessageType.DRILLED: samples.DRILLED,
    MessageType.THAW: samples.THAW,
    MessageType.STATUS: messages.Status(),
    MessageType.CONTROL: samples.CONTROL,
    MessageType.PROGRESS: samples.PROGRESS,
    MessageType.REPORT: samples.REPORT,
    MessageType.RENEW: messages.Renew(csr=b"csr"),
    MessageType.OFFER: samples.OFFER,
    MessageType.CANCEL: messages.Cancel(job=samples.JOB),
    MessageType.CONFIGURE: messages.Configure(configuration="{}"),
}


def answers_to(asked: messages.Message) -> list[messages.Message]:
    known = {
        messages.Hello: [samples.KNOWN, samples.KNOWN, samples.STRANGER],
        messages.Enroll: [samples.ENROLLED],
        messages.Publish: [messages.Published()],
        messages.Ping: [messages.Pong(time=1)],
        messages.Begin: [samples.BEGUN],
        messages.Question: [messages.Answer(missing=b"\x01")],
        messages.Flush: [messages.Flushed()],
        messages.Commit: [samples.COMMITTED, messages.Missing(ids=samples.ID)],
        messages.List: [messages.Snapshots(items=[])],
        messages.Prove: [messages.Proved(machine_id=samples.MACHINE)],
        messages.Root: [messages.RootIs(statement=b"s", recipients=[b"r"], machine_record=b"m", blocks=b"")],
        messages.Fetch: [messages.Fetched()],
        messages.Explain: [messages.Explained(), samples.EXPLAINED],
        messages.Drilled: [messages.Noted(proven=False)],
        messages.Thaw: [messages.Thawing(), samples.THAWING],
        messages.Status: [messages.StatusIs(worker_alive=True)],
        messages.Control: [samples.CONTROLLED],
        messages.Report: [messages.Reported()],
        messages.Renew: [messages.Renewed(certificate=b"certificate", ca=b"ca")],
        messages.Offer: [messages.Accepted(accepted=True), messages.Accepted(accepted=False, retry_after=60.0)],
        messages.Cancel: [messages.Cancelled()],
        messages.Configure: [messages.Configured(fault="A window never opens.")],
    }
    polite = [] if isinstance(asked, messages.Hello) else [samples.REFUSED]
    return known[type(asked)] + polite


STARTS = (
    samples.opening,
    samples.stranger,
    samples.ready,
    samples.backing_up,
    samples.reading,
    samples.welcomed_daemon,
    samples.controlling,
)
STEPS = st.tuples(st.sampled_from(("open", "answer", "deliver")), st.sampled_from(Role), st.integers(0, 99))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(STARTS), st.lists(STEPS, min_size=10, max_size=60))
def test_honest_ends_never_fault_each_other_however_their_messages_cross(
    start: Callable[[], ConnectionPair], steps: list[tuple[str, Role, int]]
) -> None:
    walk = Walk(start())
    for verb, role, choice in steps:
        if verb == "deliver":
            walk.deliver(role)
        elif verb == "open":
            walk.open_something(role, choice)
        else:
            walk.answer(role, choice)
    while any(walk.wires.values()):
        walk.deliver(Role.AGENT)
        walk.deliver(Role.GATEWAY)
    assert walk.pair.agent.phase is walk.pair.gateway.phase


def test_the_walk_of_the_crossing_test_goes_through_whole_backups() -> None:
    dice = random.Random(3)
    walk = Walk(samples.ready())
    for _ in range(2_000):
        walk.open_something(Role.AGENT, dice.randrange(99))
        walk.deliver(Role.GATEWAY)
        walk.answer(Role.GATEWAY, dice.randrange(99))
        walk.deliver(Role.AGENT)
    assert walk.seen >= {Phase.READY, Phase.BEGINNING, Phase.BACKING_UP, Phase.COMMITTING}


def test_backup_verbs_have_no_place_on_a_control_connection() -> None:
    assert MAY_OPEN[Phase.CONTROLLING][Role.AGENT] == {
        *(MessageType.PING, MessageType.STATUS, MessageType.PROGRESS, MessageType.REPORT, MessageType.RENEW)
    }


def test_act_out_of_place_is_a_violation() -> None:
    with pytest.raises(Violation, match="'COMMITTED' by the gateway does not belong in the phase 'ready'"):
        turn(Phase.READY, Role.GATEWAY, Act.COMMITTED)


@pytest.mark.defence
def test_agents_have_no_verb_that_deletes_or_overwrites() -> None:
    """Law 4. A new verb of the agent's belongs into this list only if it takes nothing away from what is stored."""
    spoken = {kind.code.name for kind in codec.KINDS.values() if Role.AGENT in kind.senders}
    assert spoken == {
        *("HELLO", "ENROLL", "PUBLISH", "PING", "PONG", "FAILURE", "GOODBYE"),
        *("BEGIN", "QUESTION", "PUT", "FLUSH", "COMMIT"),
        *("LIST", "PROVE", "ROOT", "FETCH", "EXPLAIN", "DRILLED", "THAW", "STATUS"),
        *("CONTROL", "PROGRESS", "REPORT", "RENEW", "ACCEPTED", "CANCELLED", "CONFIGURED"),
    }
