"""Who may read what: one's own snapshots, another machine's with the kit, nothing of anybody else."""

from __future__ import annotations

import os

import pytest
from blake3 import blake3

from agents.keys.kit_proof import sign_kit_proof
from backup_platform.audit.models import Entry
from backup_platform.catalog.models import Pack, Snapshot, SnapshotState
from backup_platform.tenants.scope import tenant_scope
from protocol.wire import FailureCode, messages
from tests.gateway.agent_peer import AgentPeer, Failed, block_of, contents, digest
from tests.gateway.revoking import revoke_unannounced
from tests.gateway.stage import signing_key


def fails_with(code: FailureCode, agent: AgentPeer, message: messages.Message) -> None:
    with pytest.raises(Failed) as failed:
        agent.ask(message)
    assert failed.value.code == code


def prove(agent: AgentPeer, gateway, name: str, *, key: str = "signing", **changed: bytes) -> messages.Proved:
    values = {
        "nonce": agent.welcome.nonce,
        "certificate_hash": gateway.gateway.context.certificate_hash,
        "caller_machine_id": agent.identity.id.bytes,
        "scope": blake3(name.encode()).digest()[:16],
    }
    signature = sign_kit_proof(signing_key(key), **values | changed)
    return agent.ask(messages.Prove(scope_name=name, signature=signature)).message


def readings(committed: messages.Committed, segment: list[bytes]) -> list[messages.Message]:
    """Every way to ask for content."""
    block = digest(block_of(segment))
    return [
        messages.Root(snapshot=committed.snapshot),
        messages.Fetch(snapshot=committed.snapshot, block=block),
        messages.Fetch(snapshot=committed.snapshot, block=block, ids=digest(segment[0])),
    ]


def test_root_comes_back_with_everything_that_opening_needs(running_gateway, stage):
    machine, segment = stage.machine(), contents(2)
    with AgentPeer(running_gateway, machine) as agent:
        committed = agent.back_up(segment)
        event = agent.ask(messages.Root(snapshot=committed.snapshot))
        listed = agent.ask(messages.List()).message
    answer = event.message
    assert digest(answer.statement)[:16] == committed.snapshot
    assert answer.blocks == digest(block_of(segment))
    assert answer.machine_record == b"machine record of alpha"
    assert len(answer.recipients) == 1
    with tenant_scope(stage.vault.tenant_id):
        assert digest(bytes(event.payload)) == bytes(Snapshot.objects.get().root_hash)
    assert [item.statement for item in listed.items] == [answer.statement]
    assert listed.machine_records == [answer.machine_record]


def test_list_is_paged_newest_first(running_gateway, stage):
    segment = contents(1)
    with AgentPeer(running_gateway, stage.machine()) as agent:
        made = [agent.back_up(segment).snapshot for _ in range(3)]
        first = agent.ask(messages.List(limit=2)).message
        rest = agent.ask(messages.List(limit=2, before=first.items[-1].received_at)).message
    assert [item.id for item in first.items + rest.items] == made[::-1]
    assert (len(first.items), first.more) == (2, True)
    assert (len(rest.items), rest.more) == (1, False)


def test_expired_snapshot_is_not_listed_and_not_found(running_gateway, stage):
    segment = contents(1)
    with AgentPeer(running_gateway, stage.machine()) as agent:
        committed = agent.back_up(segment)
        with tenant_scope(stage.vault.tenant_id):
            Snapshot.objects.update(state=SnapshotState.EXPIRED)
        assert agent.ask(messages.List()).message.items == []
        for message in readings(committed, segment):
            fails_with(FailureCode.NOT_FOUND, agent, message)


@pytest.mark.defence
def test_write_only_machine_reads_nothing_even_with_the_ids_in_hand(running_gateway, stage):
    segment = contents(2)
    with AgentPeer(running_gateway, stage.machine(write_only=True)) as agent:
        assert agent.welcome.write_only
        committed = agent.back_up(segment)
        for message in readings(committed, segment):
            fails_with(FailureCode.FORBIDDEN, agent, message)
        assert [item.id for item in agent.ask(messages.List()).message.items] == [committed.snapshot]


def test_write_only_machine_with_the_kit_reads(running_gateway, stage):
    segment = contents(2)
    with AgentPeer(running_gateway, stage.machine(write_only=True)) as agent:
        committed = agent.back_up(segment)
        assert prove(agent, running_gateway, "alpha").machine_id == agent.identity.id.bytes
        records, _ = agent.fetch(committed.snapshot, digest(block_of(segment)), [digest(one) for one in segment])
    assert records == {digest(one): one for one in segment}


def test_another_machines_snapshots_need_the_kit_and_are_audited(running_gateway, stage):
    segment = contents(2)
    with AgentPeer(running_gateway, stage.machine("alpha")) as owner:
        committed = owner.back_up(segment)
    with AgentPeer(running_gateway, stage.machine("beta")) as other:
        fails_with(FailureCode.FORBIDDEN, other, messages.List(machine_name="alpha"))
        fails_with(FailureCode.FORBIDDEN, other, messages.List(machine_name="no such machine"))
        for message in readings(committed, segment):
            fails_with(FailureCode.NOT_FOUND, other, message)
        prove(other, running_gateway, "alpha")
        assert [item.id for item in other.ask(messages.List(machine_name="alpha")).message.items] == [
            committed.snapshot
        ]
        other.ask(messages.Root(snapshot=committed.snapshot))
        records, _ = other.fetch(committed.snapshot, digest(block_of(segment)), [digest(one) for one in segment])
    assert records == {digest(one): one for one in segment}
    with tenant_scope(stage.vault.tenant_id):
        verbs = set(Entry.objects.values_list("verb", flat=True))
    assert {"restore.proved", "restore.root_given"} <= verbs
    with AgentPeer(running_gateway, stage.machine("gamma")) as third:  # a proof is worth one connection
        fails_with(FailureCode.NOT_FOUND, third, messages.Root(snapshot=committed.snapshot))


@pytest.mark.parametrize(
    "changed",
    [{"nonce": bytes(32)}, {"certificate_hash": bytes(32)}, {"caller_machine_id": bytes(16)}, {"scope": bytes(16)}],
)
def test_proof_of_anything_else_is_refused_and_audited(running_gateway, stage, changed):
    stage.machine("alpha")
    with AgentPeer(running_gateway, stage.machine("beta")) as other:
        with pytest.raises(Failed) as failed:
            prove(other, running_gateway, "alpha", **changed)
        assert failed.value.code == FailureCode.FORBIDDEN
    with tenant_scope(stage.vault.tenant_id):
        assert Entry.objects.filter(verb="restore.proof_refused").count() == 1


def test_proof_with_another_key_is_refused(running_gateway, stage):
    with AgentPeer(running_gateway, stage.machine("alpha")) as agent, pytest.raises(Failed) as failed:
        prove(agent, running_gateway, "alpha", key="opening")
    assert failed.value.code == FailureCode.FORBIDDEN


@pytest.mark.defence
def test_another_tenants_snapshot_looks_missing_even_with_the_same_kit(running_gateway, stage):
    segment = contents(2)
    with AgentPeer(running_gateway, stage.machine("alpha")) as owner:
        committed = owner.back_up(segment)
    with AgentPeer(running_gateway, stage.machine("alpha-too", vault=stage.make_vault("south"))) as foreign:
        for message in readings(committed, segment):
            fails_with(FailureCode.NOT_FOUND, foreign, message)
        with pytest.raises(Failed) as failed:
            prove(foreign, running_gateway, "alpha")
        assert failed.value.code == FailureCode.NOT_FOUND
        assert foreign.ask(messages.Status(snapshots=committed.snapshot)).message.states == {}
        foreign.begin()
        ids = [digest(one) for one in segment]
        assert foreign.missing(ids) == set(ids), "nor does a question tell what another tenant stores"


@pytest.mark.defence
def test_chunk_outside_the_named_block_is_refused(running_gateway, stage):
    one, two = contents(2), contents(2)
    with AgentPeer(running_gateway, stage.machine()) as agent:
        first, second = agent.back_up(one), agent.back_up(two)
        block = digest(block_of(one))
        outside = messages.Fetch(snapshot=first.snapshot, block=block, ids=digest(one[0]) + digest(two[0]))
        fails_with(FailureCode.NOT_FOUND, agent, outside)
        fails_with(FailureCode.NOT_FOUND, agent, messages.Fetch(snapshot=second.snapshot, block=block))


def test_revocation_ends_a_restore(running_gateway, stage):
    machine, segment = stage.machine(), contents(2)
    with AgentPeer(running_gateway, machine) as agent:
        committed = agent.back_up(segment)
        revoke_unannounced(machine.row)
        fails_with(FailureCode.REVOKED, agent, messages.Root(snapshot=committed.snapshot))


def test_damaged_chunk_is_named_and_the_others_come(running_gateway, stage):
    segment = [os.urandom(5000) for _ in range(4)]
    with AgentPeer(running_gateway, stage.machine()) as agent:
        committed = agent.back_up(segment)
        with tenant_scope(stage.vault.tenant_id):
            file = running_gateway.spool.parent / Pack.objects.get().path
        data = bytearray(file.read_bytes())
        data[data.index(segment[1]) + 7] ^= 0xFF
        file.write_bytes(data)
        block = digest(block_of(segment))
        records, missing = agent.fetch(committed.snapshot, block, [digest(one) for one in segment])
    assert missing == digest(segment[1])
    assert records == {digest(one): one for one in segment if one is not segment[1]}


def test_fetch_in_small_batches_brings_everything(gateway_factory, stage):
    from backup_platform.gateway.limits import GatewayLimits

    gateway = gateway_factory(limits=GatewayLimits(read_batch=10_000, sent_bytes=20_000, block_cache=1))
    segment = contents(40, 3000)
    with AgentPeer(gateway, stage.machine()) as agent:
        committed = agent.back_up(segment)
        block = digest(block_of(segment))
        for _ in range(2):
            records, missing = agent.fetch(committed.snapshot, block, [digest(one) for one in segment] * 2)
            assert (records, missing) == ({digest(one): one for one in segment}, b"")


def test_status_tells_states_and_that_no_worker_is_at_work(running_gateway, stage):
    with AgentPeer(running_gateway, stage.machine()) as agent:
        committed = agent.back_up(contents(1))
        status = agent.ask(messages.Status(snapshots=committed.snapshot + bytes(16))).message
    assert status.states == {committed.snapshot.hex(): "received"}
    assert not status.worker_alive
