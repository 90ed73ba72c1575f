"""What a reader may ask besides reading: known where both agreed on it, and answered politely everywhere else."""

import pytest

from protocol.wire import (
    FailureCode,
    LocalProtocolError,
    MessageType,
    Phase,
    RemoteProtocolError,
    Role,
    Unsupported,
    messages,
)
from protocol.wire.features import DRILLS, FEATURE_OF, LIFECYCLE, THAWING
from protocol.wire.pair import ConnectionPair

from . import samples

ASKED: dict[str, messages.Message] = {
    LIFECYCLE: samples.EXPLAIN,
    DRILLS: samples.DRILLED,
    THAWING: samples.THAW,
}


def agreed(offered: list[str], repeated: list[str]) -> ConnectionPair:
    pair = ConnectionPair()
    pair.from_agent(messages.Hello(versions=[1], agent_version="1", features=offered), 1)
    pair.from_gateway(samples.replace(samples.KNOWN, features=repeated), 1)
    return pair


@pytest.mark.parametrize("feature", ASKED)
@pytest.mark.parametrize("side", ["agent", "gateway"])
def test_older_party_is_not_asked_what_it_does_not_know(feature: str, side: str) -> None:
    pair = agreed([feature], []) if side == "agent" else agreed([], [feature])
    with pytest.raises(LocalProtocolError, match=f"needs the feature '{feature}'") as caught:
        pair.from_agent(ASKED[feature], 2)
    assert caught.value.code is FailureCode.UNSUPPORTED


@pytest.mark.parametrize("feature", ASKED)
def test_agent_that_asks_all_the_same_is_answered_politely_and_may_go_on(feature: str) -> None:
    pair = samples.ready()
    kind = next(kind for kind, of in FEATURE_OF.items() if of == feature)
    (event,) = samples.receive(pair, Role.AGENT, samples.frame(ASKED[feature], 7))
    assert event == Unsupported(kind, 7)
    pair.gateway.send(event.failure, 7)
    pair.from_agent(messages.List(), 8)


def test_one_feature_does_not_bring_the_other() -> None:
    pair = agreed([LIFECYCLE, DRILLS], [LIFECYCLE])
    pair.from_agent(samples.EXPLAIN, 2)
    with pytest.raises(LocalProtocolError, match="needs the feature 'drills'"):
        pair.from_agent(samples.DRILLED, 3)


@pytest.mark.parametrize("feature", ASKED)
def test_none_has_a_place_while_a_session_is_open(feature: str) -> None:
    pair = agreed([feature], [feature])
    pair.from_agent(samples.BEGIN, 2)
    pair.from_gateway(samples.BEGUN, 2)
    assert pair.gateway.phase is Phase.BACKING_UP
    with pytest.raises(RemoteProtocolError, match="may not send"):
        samples.receive(pair, Role.AGENT, samples.frame(ASKED[feature], 3))


def test_only_the_agent_asks() -> None:
    pair = samples.reading()
    with pytest.raises(RemoteProtocolError, match="EXPLAIN is not for the gateway to send"):
        samples.receive(pair, Role.GATEWAY, samples.frame(samples.EXPLAIN, 3))


def test_answer_to_another_question_is_refused() -> None:
    pair = samples.reading()
    pair.from_agent(samples.EXPLAIN, 2)
    with pytest.raises(RemoteProtocolError, match="does not answer request 2"):
        samples.receive(pair, Role.GATEWAY, samples.frame(messages.Noted(proven=True), 2))


def test_numbers_begin_at_one() -> None:
    for field in ("first", "last"):
        with pytest.raises(LocalProtocolError, match=f"Explain.{field}"):
            messages.Explain(**{"first": 1, "last": 1, field: 0})


def test_codes_are_those_of_the_page() -> None:
    codes = [MessageType.EXPLAIN, MessageType.EXPLAINED, MessageType.DRILLED, MessageType.NOTED]
    codes += [MessageType.THAW, MessageType.THAWING]
    assert codes == [73, 74, 75, 76, 77, 78]
