"""The control connection's messages: known where both agreed on them, unheard of everywhere else."""

import pytest

from protocol.wire import Event, FailureCode, LocalProtocolError, MessageType, Phase, Role, Unsupported, messages
from protocol.wire.codec import KINDS
from protocol.wire.features import CONTROL, FEATURE_OF
from protocol.wire.pair import ConnectionPair

from . import samples


def agreed(offered: list[str], repeated: list[str]) -> ConnectionPair:
    pair = ConnectionPair()
    pair.from_agent(messages.Hello(versions=[1], agent_version="1", features=offered), 1)
    pair.from_gateway(samples.replace(samples.KNOWN, features=repeated), 1)
    return pair


def test_feature_holds_when_hello_offered_and_welcome_repeated_it() -> None:
    pair = agreed([CONTROL, "tea"], [CONTROL])
    assert pair.agent.features == pair.gateway.features == {CONTROL}


@pytest.mark.parametrize(("offered", "repeated"), [([], []), ([CONTROL], []), ([], [CONTROL])])
def test_without_agreement_control_is_not_sent(offered: list[str], repeated: list[str]) -> None:
    pair = agreed(offered, repeated)
    assert pair.agent.features == pair.gateway.features == set()
    with pytest.raises(LocalProtocolError, match="needs the feature 'control'") as caught:
        pair.from_agent(samples.CONTROL, 2)
    assert caught.value.code is FailureCode.UNSUPPORTED


def test_without_agreement_control_is_answered_as_by_an_old_gateway_and_the_connection_goes_on() -> None:
    pair = samples.ready()
    (event,) = samples.receive(pair, Role.AGENT, samples.frame(samples.CONTROL, 7))
    assert event == Unsupported(MessageType.CONTROL, 7)
    pair.gateway.send(event.failure, 7)
    assert pair.gateway.phase is Phase.READY
    pair.from_agent(samples.BEGIN, 8)


def test_without_agreement_an_offer_is_answered_as_by_an_old_agent() -> None:
    pair = samples.ready()
    assert samples.receive(pair, Role.GATEWAY, samples.frame(samples.OFFER, 7)) == [Unsupported(MessageType.OFFER, 7)]


def test_every_message_of_the_control_connection_belongs_to_the_feature() -> None:
    of_control = {kind for kind, feature in FEATURE_OF.items() if feature == CONTROL}
    assert {kind for kind in MessageType if kind >= MessageType.CONTROL} == of_control


def test_refused_control_leads_back_to_ready() -> None:
    pair = samples.joining()
    pair.from_gateway(samples.REFUSED, 2)
    assert pair.agent.phase is pair.gateway.phase is Phase.READY


def test_gateway_offers_and_the_agent_answers_in_any_order() -> None:
    pair = samples.controlling()
    pair.from_gateway(samples.OFFER, 1)
    pair.from_gateway(messages.Cancel(job=samples.JOB), 2)
    assert pair.from_agent(messages.Cancelled(), 2) == [Event(messages.Cancelled(), 2, b"")]
    refused = messages.Failure(code=FailureCode.BUSY, message="A backup is running.", retry_after=60.0)
    assert pair.from_agent(refused, 1) == [Event(refused, 1, b"")]
    assert pair.agent.phase is pair.gateway.phase is Phase.CONTROLLING


def test_begin_without_a_job_is_the_frame_of_an_agent_that_knows_no_jobs() -> None:
    assert b"job" not in samples.frame(samples.BEGIN, 1)
    named = samples.replace(samples.BEGIN, job=samples.JOB, policy="Documents")
    assert b"Documents" in samples.frame(named, 1)


@pytest.mark.parametrize("kind", [kind for kind in MessageType if kind >= MessageType.CONTROL])
def test_control_messages_carry_no_payload(kind: MessageType) -> None:
    assert KINDS[kind].max_payload == 0
