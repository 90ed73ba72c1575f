"""The order of a conversation, as tables. Everything about what may follow what is here, and nothing else is.

House rule: this file does not know which end we are. It judges acts of *the agent* and *the gateway*, so that it cannot
hold the peer to other rules than ourselves.

Three tables:

- `MAY_OPEN`: which requests and notices each party may send in each phase. Answers are not in it: an answer is allowed
  exactly when its request is in flight (`flight.py`).
- `TURNS`: which acts change the phase. Only requests that the agent waits for turn it, so at any time at most one such
  request is in flight, and both ends pass through the same phases in the same order.
- GOODBYE, and FAILURE with request id 0, end the sender's voice in any phase; the connection is CLOSED when both voices
  have ended or the stream has.

Messages cross on the way: when one party turns the phase, what the other sent before it knew must still be allowed.
Hence two properties of the tables, which the tests check: whatever the gateway may send in a phase, it may send after
any turn by the agent, and the other way round.
"""

from enum import Enum
from typing import Final

from protocol.wire.errors import Violation
from protocol.wire.types import MessageType as M
from protocol.wire.types import Role


class Phase(Enum):
    """Where a conversation stands."""

    OPENING = "opening"  # nothing was said
    GREETING = "greeting"  # HELLO is waiting for WELCOME
    STRANGER = "stranger"  # welcomed without a certificate: may only enrol
    ENROLLING = "enrolling"  # ENROLL is waiting for its answer
    ENROLLED = "enrolled"  # has a certificate; must come back with it
    READY = "ready"  # welcomed as a machine
    BEGINNING = "beginning"  # BEGIN is waiting for its answer
    BACKING_UP = "backing up"  # a session is open on this connection
    COMMITTING = "committing"  # COMMIT is waiting for its answer
    JOINING = "joining"  # CONTROL is waiting for its answer
    CONTROLLING = "controlling"  # a daemon's control connection, to its end
    CLOSED = "closed"  # both voices, or the stream, have ended
    FAILED = "failed"  # a rule was broken: nothing more is sent or understood


class Act(Enum):
    """What can turn a phase: a request of the agent, or the answer to it. Values are the words of the diagram."""

    HELLO = "HELLO"
    WELCOME_KNOWN = "WELCOME, authenticated"
    WELCOME_STRANGER = "WELCOME, not authenticated"
    ENROLL = "ENROLL"
    ENROLLED = "ENROLLED"
    ENROLL_REFUSED = "FAILURE of ENROLL"
    BEGIN = "BEGIN"
    BEGUN = "BEGUN"
    BEGIN_REFUSED = "FAILURE of BEGIN"
    COMMIT = "COMMIT"
    COMMITTED = "COMMITTED"
    MISSING = "MISSING"
    COMMIT_REFUSED = "FAILURE of COMMIT"
    CONTROL = "CONTROL"
    CONTROLLED = "CONTROLLED"
    CONTROL_REFUSED = "FAILURE of CONTROL"


TURNS: Final[dict[Phase, dict[tuple[Role, Act], Phase]]] = {
    Phase.OPENING: {(Role.AGENT, Act.HELLO): Phase.GREETING},
    Phase.GREETING: {
        (Role.GATEWAY, Act.WELCOME_KNOWN): Phase.READY,
        (Role.GATEWAY, Act.WELCOME_STRANGER): Phase.STRANGER,
    },
    Phase.STRANGER: {(Role.AGENT, Act.ENROLL): Phase.ENROLLING},
    Phase.ENROLLING: {
        (Role.GATEWAY, Act.ENROLLED): Phase.ENROLLED,
        (Role.GATEWAY, Act.ENROLL_REFUSED): Phase.STRANGER,
    },
    Phase.ENROLLED: {},
    Phase.READY: {
        (Role.AGENT, Act.BEGIN): Phase.BEGINNING,
        (Role.AGENT, Act.CONTROL): Phase.JOINING,
    },
    Phase.BEGINNING: {
        (Role.GATEWAY, Act.BEGUN): Phase.BACKING_UP,
        (Role.GATEWAY, Act.BEGIN_REFUSED): Phase.READY,
    },
    Phase.BACKING_UP: {(Role.AGENT, Act.COMMIT): Phase.COMMITTING},
    Phase.COMMITTING: {
        (Role.GATEWAY, Act.COMMITTED): Phase.READY,
        # The session is still open: the agent sends what is missing, or tries again, and commits once more.
        (Role.GATEWAY, Act.MISSING): Phase.BACKING_UP,
        (Role.GATEWAY, Act.COMMIT_REFUSED): Phase.BACKING_UP,
    },
    Phase.JOINING: {
        (Role.GATEWAY, Act.CONTROLLED): Phase.CONTROLLING,
        (Role.GATEWAY, Act.CONTROL_REFUSED): Phase.READY,
    },
    # Nothing turns it: backups and restores have connections of their own, so that this one is never held up.
    Phase.CONTROLLING: {},
    Phase.CLOSED: {},
    Phase.FAILED: {},
}

_NOTHING: Final[frozenset[M]] = frozenset()
_PING: Final = frozenset({M.PING})
_RESTORING: Final = frozenset({M.LIST, M.PROVE, M.ROOT, M.FETCH, M.EXPLAIN, M.DRILLED, M.THAW})

MAY_OPEN: Final[dict[Phase, dict[Role, frozenset[M]]]] = {
    Phase.OPENING: {Role.AGENT: frozenset({M.HELLO}), Role.GATEWAY: _NOTHING},
    Phase.GREETING: {Role.AGENT: _NOTHING, Role.GATEWAY: _NOTHING},
    Phase.STRANGER: {Role.AGENT: _PING | {M.ENROLL}, Role.GATEWAY: _PING},
    Phase.ENROLLING: {Role.AGENT: _PING, Role.GATEWAY: _PING},
    Phase.ENROLLED: {Role.AGENT: _PING, Role.GATEWAY: _PING},
    Phase.READY: {Role.AGENT: _PING | _RESTORING | {M.PUBLISH, M.STATUS, M.BEGIN, M.CONTROL}, Role.GATEWAY: _PING},
    Phase.BEGINNING: {Role.AGENT: _PING | {M.STATUS}, Role.GATEWAY: _PING},
    # No restore verbs while a session is open: a backup reads nothing back, and a stolen identity that writes should
    # not look like one that reads.
    Phase.BACKING_UP: {
        Role.AGENT: _PING | {M.STATUS, M.QUESTION, M.PUT, M.FLUSH, M.COMMIT},
        Role.GATEWAY: _PING | {M.STORED},
    },
    Phase.COMMITTING: {Role.AGENT: _PING | {M.STATUS}, Role.GATEWAY: _PING | {M.STORED}},
    Phase.JOINING: {Role.AGENT: _PING | {M.STATUS}, Role.GATEWAY: _PING},
    Phase.CONTROLLING: {
        Role.AGENT: _PING | {M.STATUS, M.PROGRESS, M.REPORT, M.RENEW},
        Role.GATEWAY: _PING | {M.OFFER, M.CANCEL, M.CONFIGURE},
    },
    Phase.CLOSED: {Role.AGENT: _NOTHING, Role.GATEWAY: _NOTHING},
    Phase.FAILED: {Role.AGENT: _NOTHING, Role.GATEWAY: _NOTHING},
}

_REQUEST_ACTS: Final = {
    M.HELLO: Act.HELLO,
    M.ENROLL: Act.ENROLL,
    M.BEGIN: Act.BEGIN,
    M.COMMIT: Act.COMMIT,
    M.CONTROL: Act.CONTROL,
}
_ANSWER_ACTS: Final = {
    M.ENROLLED: Act.ENROLLED,
    M.BEGUN: Act.BEGUN,
    M.COMMITTED: Act.COMMITTED,
    M.MISSING: Act.MISSING,
    M.CONTROLLED: Act.CONTROLLED,
}
_REFUSAL_ACTS: Final[dict[int, Act]] = {
    M.ENROLL: Act.ENROLL_REFUSED,
    M.BEGIN: Act.BEGIN_REFUSED,
    M.COMMIT: Act.COMMIT_REFUSED,
    M.CONTROL: Act.CONTROL_REFUSED,
}

# Phases in which the peer has not shown who it is: unknown types are not skipped there, and bodies are small.
BEFORE_READY: Final = frozenset({Phase.OPENING, Phase.GREETING, Phase.STRANGER, Phase.ENROLLING, Phase.ENROLLED})


def check_may_open(phase: Phase, sender: Role, kind: M) -> None:
    """Raise Violation unless `sender` may send this request or notice in this phase."""
    if kind not in MAY_OPEN[phase][sender]:
        raise Violation(f"The {sender.value} may not send {kind.name} in the phase '{phase.value}'.")


def act_of_request(kind: M) -> Act | None:
    """The act of sending this request, if it turns the phase."""
    return _REQUEST_ACTS.get(kind)


def act_of_answer(kind: M, asked: int, *, authenticated: bool) -> Act | None:
    """The act of answering `asked` with `kind`, if it turns the phase. `authenticated` matters to WELCOME only."""
    if kind is M.WELCOME:
        return Act.WELCOME_KNOWN if authenticated else Act.WELCOME_STRANGER
    if kind is M.FAILURE:
        return _REFUSAL_ACTS.get(asked)
    return _ANSWER_ACTS.get(kind)


def turn(phase: Phase, sender: Role, act: Act | None) -> Phase:
    """The phase after this act. Raises Violation if the tables do not know it here."""
    if act is None:
        return phase
    following = TURNS[phase].get((sender, act))
    if following is None:
        raise Violation(f"'{act.value}' by the {sender.value} does not belong in the phase '{phase.value}'.")
    return following
