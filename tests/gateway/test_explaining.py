"""Snapshots that are not listed any more: their own machine learns what became of them, and nobody else anything."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from blake3 import blake3
from django.utils import timezone

from backup_platform.catalog import stores
from backup_platform.catalog.models import Snapshot, SnapshotState
from backup_platform.retention import lifecycle
from backup_platform.retention.models import LifecycleEntry
from backup_platform.tenants.scope import tenant_scope
from protocol.stored.lifecycle import LifecycleEvent, decode_lifecycle
from protocol.stored.statements import decode_statement
from protocol.wire import FailureCode, LocalProtocolError, limits, messages
from tests.gateway.agent_peer import AgentPeer, Failed, contents
from tests.gateway.test_restoring import fails_with, prove, readings

FEATURES = ["lifecycle", "drills"]
EVERYTHING = messages.Explain(first=1, last=2**63 - 1)


class Reader(AgentPeer):
    """An agent that offers what readers use."""

    def __init__(self, gateway, identity, features: list[str] = FEATURES) -> None:
        super().__init__(gateway, identity, greet=False)
        hello = messages.Hello(versions=[1], agent_version="test reader", features=features)
        self.welcome = self.ask(hello).message

    def explain(self, first: int = 1, last: int = 2**63 - 1, **values: Any) -> messages.Explained:
        return self.ask(messages.Explain(first=first, last=last, **values)).message


def expire(stage, *committed: messages.Committed, write: bool = True, state=SnapshotState.EXPIRED) -> None:
    """As retention does: the state, and a record that is due; `write` puts it into the store."""
    for one in committed:
        note(stage, one, LifecycleEvent.EXPIRED, {"because": "Nothing keeps it.", "by": "retention"})
        with tenant_scope(stage.vault.tenant_id):
            Snapshot.objects.filter(pk=UUID(bytes=one.snapshot)).update(state=state, expired_at=timezone.now())
    if write:
        write_due(stage)


def note(stage, committed: messages.Committed, event: LifecycleEvent, detail: dict[str, str]) -> None:
    with tenant_scope(stage.vault.tenant_id):
        pk = UUID(bytes=committed.snapshot)
        lifecycle.append([pk], event, detail, tenant_id=stage.vault.tenant_id)


def write_due(stage) -> None:
    with tenant_scope(stage.vault.tenant_id):
        lifecycle.write_due(stage.vault.tenant_id)


def numbers(explained: messages.Explained) -> list[int]:
    return [decode_statement(fate.statement).sequence for fate in explained.fates]


def events(fate) -> list[LifecycleEvent | None]:
    return [None if len(one) == 32 else decode_lifecycle(one).event for one in fate.records]


@pytest.mark.parametrize("state", [SnapshotState.EXPIRED, SnapshotState.RECLAIMED])
def test_gone_snapshot_is_explained_by_its_statement_and_records(running_gateway, stage, state):
    segment = contents(1)
    with Reader(running_gateway, stage.machine()) as agent:
        assert agent.connection.features == set(FEATURES)
        made = [agent.back_up(segment) for _ in range(3)]
        statements = {item.id: item.statement for item in agent.ask(messages.List()).message.items}
        expire(stage, made[1], state=state)
        assert [item.id for item in agent.ask(messages.List()).message.items] == [made[2].snapshot, made[0].snapshot]
        for message in readings(made[1], segment):
            fails_with(FailureCode.NOT_FOUND, agent, message)
        (fate,) = agent.explain().fates
    assert fate.statement == statements[made[1].snapshot]
    assert events(fate) == [LifecycleEvent.RECEIVED, LifecycleEvent.EXPIRED]
    received, expiry = map(decode_lifecycle, fate.records)
    assert received.snapshot_id == expiry.snapshot_id == made[1].snapshot
    assert expiry.previous == blake3(fate.records[0]).digest()
    assert expiry.detail == {"because": "Nothing keeps it.", "by": "retention"}


def test_listed_snapshots_are_not_explained(running_gateway, stage):
    with Reader(running_gateway, stage.machine()) as agent:
        agent.back_up(contents(1))
        assert agent.explain() == messages.Explained()


def test_only_the_numbers_that_were_asked_about_are_explained(running_gateway, stage):
    with Reader(running_gateway, stage.machine()) as agent:
        made = [agent.back_up(contents(1)) for _ in range(4)]
        expire(stage, *made[:3])
        assert numbers(agent.explain()) == [3, 2, 1]
        assert numbers(agent.explain(2, 2)) == [2]
        assert numbers(agent.explain(3, 2)) == []


def test_record_that_is_due_is_given_as_it_will_be_written(running_gateway, stage):
    with Reader(running_gateway, stage.machine()) as agent:
        made = agent.back_up(contents(1))
        expire(stage, made, write=False)
        before = agent.explain()
        write_due(stage)
        assert agent.explain() == before
        with tenant_scope(stage.vault.tenant_id):  # as if the worker had died between the store and the row
            LifecycleEntry.objects.update(number=None)
        assert agent.explain() == before
    assert events(before.fates[0]) == [LifecycleEvent.RECEIVED, LifecycleEvent.EXPIRED]


def test_rebuilt_catalogue_explains_by_what_the_store_holds(running_gateway, stage):
    with Reader(running_gateway, stage.machine()) as agent:
        made = agent.back_up(contents(1))
        expire(stage, made)
        before = agent.explain()
        with tenant_scope(stage.vault.tenant_id):
            LifecycleEntry.objects.all().delete()
        assert agent.explain() == before


@pytest.mark.defence
def test_legal_hold_is_not_told_to_the_machine_and_the_chain_still_holds(running_gateway, stage):
    with Reader(running_gateway, stage.machine()) as agent:
        made = agent.back_up(contents(1))
        note(stage, made, LifecycleEvent.HOLD_SET, {"case": "Doe v. Roe", "reason": "the machine of John Doe"})
        note(stage, made, LifecycleEvent.HOLD_RELEASED, {"case": "Doe v. Roe"})
        expire(stage, made)
        (fate,) = agent.explain().fates
    assert b"Doe" not in b"".join(fate.records)
    assert events(fate) == [LifecycleEvent.RECEIVED, None, None, LifecycleEvent.EXPIRED]
    assert decode_lifecycle(fate.records[3]).previous == fate.records[2]


def test_rotten_record_is_given_as_its_digest(running_gateway, stage):
    with Reader(running_gateway, stage.machine()) as agent:
        made = agent.back_up(contents(1))
        expire(stage, made)
        (path,) = (stores.home() / "store").rglob(f"{made.snapshot.hex()}/1.lifecycle")
        path.chmod(0o600)
        path.write_bytes(b"rotten")
        (fate,) = agent.explain().fates
    assert fate.records[0] == blake3(b"rotten").digest()


def test_very_many_records_are_cut_to_the_newest(running_gateway, stage):
    with Reader(running_gateway, stage.machine()) as agent:
        made = agent.back_up(contents(1))
        for _ in range(6):
            note(stage, made, LifecycleEvent.EXPIRED, {"because": "b" * 300, "by": "a" * 200})
            note(stage, made, LifecycleEvent.UNDELETED, {"by": "ada"})
        expire(stage, made)
        (fate,) = agent.explain().fates
    assert len(fate.records) == limits.MAX_LIFECYCLE_RECORDS
    assert events(fate)[-1] is LifecycleEvent.EXPIRED


@pytest.mark.defence
def test_explanations_come_in_pages(running_gateway, stage, monkeypatch):
    monkeypatch.setattr(limits, "MAX_FATES", 2)
    with Reader(running_gateway, stage.machine()) as agent:
        made = [agent.back_up(contents(1)) for _ in range(5)]
        expire(stage, *made)
        first = agent.explain()
        second = agent.explain(1, first.rest)
        third = agent.explain(1, second.rest)
    assert [numbers(one) for one in (first, second, third)] == [[5, 4], [3, 2], [1]]
    assert (first.rest, second.rest, third.rest) == (3, 1, 0)


@pytest.mark.defence
def test_another_machines_fate_needs_the_kit(running_gateway, stage):
    with Reader(running_gateway, stage.machine("alpha")) as owner:
        expire(stage, owner.back_up(contents(1)))
    with Reader(running_gateway, stage.machine("beta")) as other:
        assert other.explain() == messages.Explained()
        fails_with(FailureCode.FORBIDDEN, other, messages.Explain(first=1, last=9, machine_name="alpha"))
        fails_with(FailureCode.FORBIDDEN, other, messages.Explain(first=1, last=9, machine_name="nobody"))
        prove(other, running_gateway, "alpha")
        assert numbers(other.explain(machine_name="alpha")) == [1]


def test_write_only_machine_learns_what_its_list_lacks(running_gateway, stage):
    """It may have its list, so it may know why something is not in it."""
    with Reader(running_gateway, stage.machine(write_only=True)) as agent:
        expire(stage, agent.back_up(contents(1)))
        assert numbers(agent.explain()) == [1]


def test_old_agent_is_not_offered_the_features(running_gateway, stage):
    with AgentPeer(running_gateway, stage.machine()) as agent:
        assert agent.welcome.features == []
        assert agent.ask(messages.List()).message.items == []
        with pytest.raises(LocalProtocolError, match="lifecycle"):
            agent.ask(EVERYTHING)


# --- drills by hand --------------------------------------------------------------------------------------------------


def drilled(committed: messages.Committed, **values: Any) -> messages.Drilled:
    fields = {"drill": uuid4().bytes, "outcome": "done", "counts": {"files": 3, "faults": 0, "damaged": 0}}
    return messages.Drilled(snapshot=committed.snapshot, **fields | values)


def is_proven(stage, committed: messages.Committed) -> bool:
    with tenant_scope(stage.vault.tenant_id):
        return Snapshot.objects.get(pk=UUID(bytes=committed.snapshot)).proven_at is not None


def test_drill_by_hand_without_a_fault_proves_its_snapshot(running_gateway, stage):
    with Reader(running_gateway, stage.machine()) as agent:
        made = agent.back_up(contents(1))
        assert agent.ask(drilled(made)).message == messages.Noted(proven=True)
    assert is_proven(stage, made)


@pytest.mark.parametrize("changes", [{"counts": {"faults": 1}, "outcome": "warnings"}, {"outcome": "failed"}])
def test_drill_by_hand_with_a_fault_proves_nothing(running_gateway, stage, changes):
    with Reader(running_gateway, stage.machine()) as agent:
        made = agent.back_up(contents(1))
        assert agent.ask(drilled(made, **changes)).message == messages.Noted(proven=False)
    assert not is_proven(stage, made)


@pytest.mark.defence
def test_drill_of_another_machines_snapshot_is_not_taken_even_with_the_kit(running_gateway, stage):
    with Reader(running_gateway, stage.machine("alpha")) as owner:
        made = owner.back_up(contents(1))
    with Reader(running_gateway, stage.machine("beta")) as other:
        fails_with(FailureCode.NOT_FOUND, other, drilled(made))
        prove(other, running_gateway, "alpha")
        fails_with(FailureCode.NOT_FOUND, other, drilled(made))
    assert not is_proven(stage, made)


@pytest.mark.defence
def test_write_only_machine_proves_nothing_without_the_kit(running_gateway, stage):
    with Reader(running_gateway, stage.machine("alpha", write_only=True)) as agent:
        made = agent.back_up(contents(1))
        fails_with(FailureCode.FORBIDDEN, agent, drilled(made))
        assert not is_proven(stage, made)
        prove(agent, running_gateway, "alpha")
        assert agent.ask(drilled(made)).message.proven


def test_outcome_that_does_not_exist_and_snapshot_that_is_gone_are_refused(running_gateway, stage):
    with Reader(running_gateway, stage.machine()) as agent:
        made = agent.back_up(contents(1))
        fails_with(FailureCode.INVALID, agent, drilled(made, outcome="temporary"))
        expire(stage, made)
        fails_with(FailureCode.NOT_FOUND, agent, drilled(made))


def test_too_many_drills_are_refused_with_a_time_to_wait(running_gateway, stage, monkeypatch):
    monkeypatch.setattr("backup_platform.jobs.drills_by_hand.MOST_A_DAY", 2)
    with Reader(running_gateway, stage.machine()) as agent:
        made = agent.back_up(contents(1))
        first = drilled(made)
        for message in (first, drilled(made), first):  # a repetition counts once
            assert agent.ask(message).message.proven
        with pytest.raises(Failed) as failed:
            agent.ask(drilled(made))
    assert failed.value.code == FailureCode.RATE
    assert failed.value.failure.retry_after == 3600.0
