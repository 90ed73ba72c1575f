"""A write-only machine: its own key opens none of its snapshots, whatever its agent proposes."""

from __future__ import annotations

import hashlib
import os

import pytest

from backup_platform.catalog.models import Snapshot
from backup_platform.tenants.scope import tenant_scope
from protocol.stored.recipients import RecipientKind, RecipientRecord
from protocol.wire import FailureCode, messages
from tests.gateway.agent_peer import BLOCK, AgentPeer, Failed, block_of, contents, digest, propose
from tests.gateway.stage import Identity, spki


def own_hash() -> bytes:
    return hashlib.sha256(spki("reading")).digest()


def commit_sealed_to(agent: AgentPeer, kinds: list[tuple[RecipientKind, bytes]]) -> messages.Message:
    """A backup whose root names these recipients."""
    segment = contents(1)
    if not hasattr(agent, "begun"):
        agent.begin()
    agent.put(segment[0])
    agent.put(block_of(segment), BLOCK)
    proposal = propose(agent.identity, agent.begun, (segment,))
    records = [RecipientRecord(kind, key, digest(proposal.root), os.urandom(384)).encode() for kind, key in kinds]
    session = {"session": agent.begun.session, "fence": agent.begun.fence}
    return agent.ask(messages.Commit(**session, **proposal.fields | {"recipients": records}), proposal.root).message


def count_of(machine: Identity) -> int:
    with tenant_scope(machine.row.tenant_id):
        return Snapshot.objects.filter(machine_id=machine.id).count()


@pytest.mark.defence
@pytest.mark.parametrize("kind", list(RecipientKind))
def test_a_write_only_machines_own_reading_key_is_refused_as_a_recipient(running_gateway, stage, kind):
    machine = stage.machine(write_only=True)
    with AgentPeer(running_gateway, machine) as agent:
        with pytest.raises(Failed) as failed:
            commit_sealed_to(agent, [(RecipientKind.VAULT, bytes(32)), (kind, own_hash())])
        assert (failed.value.code, count_of(machine)) == (FailureCode.INVALID, 0)
        assert "write-only" in failed.value.failure.message
        assert "seal the root to the vault's recipients alone" in failed.value.failure.message


@pytest.mark.defence
def test_a_write_only_machine_seals_to_no_other_machine_either(running_gateway, stage):
    machine = stage.machine(write_only=True)
    with AgentPeer(running_gateway, machine) as agent:
        with pytest.raises(Failed) as failed:
            commit_sealed_to(agent, [(RecipientKind.VAULT, bytes(32)), (RecipientKind.MACHINE, bytes(32))])
        assert (failed.value.code, count_of(machine)) == (FailureCode.INVALID, 0)


def test_after_the_refusal_the_same_session_commits_what_is_sealed_to_the_vault(running_gateway, stage):
    machine = stage.machine(write_only=True)
    with AgentPeer(running_gateway, machine) as agent:
        with pytest.raises(Failed):
            commit_sealed_to(agent, [(RecipientKind.MACHINE, own_hash())])
        further = [(RecipientKind.VAULT, bytes(32)), (RecipientKind.FURTHER, b"f" * 32)]
        assert isinstance(commit_sealed_to(agent, further), messages.Committed)
    assert count_of(machine) == 1


def test_a_machine_that_may_read_names_its_own_key(running_gateway, stage):
    machine = stage.machine()
    with AgentPeer(running_gateway, machine) as agent:
        both = [(RecipientKind.VAULT, bytes(32)), (RecipientKind.MACHINE, own_hash())]
        assert isinstance(commit_sealed_to(agent, both), messages.Committed)
