"""A machine that may not be here any more is sent away at once, whatever it is doing."""

from __future__ import annotations

import time

import pytest

from backup_platform.fleet.approval import decommission_machine, revoke_machine
from backup_platform.fleet.models import Machine, MachineState
from backup_platform.tenants.scope import without_tenant_scope
from protocol.wire import FailureCode, messages
from tests.gateway.agent_peer import AgentPeer, Closed, Failed, contents
from tests.gateway.daemon_peer import DaemonPeer

pytestmark = pytest.mark.django_db(transaction=True)
SOON = 20.0
"""Seconds. An announced revocation takes well under one; a busy machine may need more."""


@pytest.fixture
def machine(stage):
    return stage.machine()


def wait_sent_away(agent: AgentPeer) -> str:
    """The sentence with which the gateway ends the connection; it must say REVOKED, and within time."""
    begun = time.monotonic()
    agent.socket.settimeout(SOON)
    with pytest.raises(Failed) as failed:
        agent.wait_end()
    assert failed.value.code == FailureCode.REVOKED
    assert time.monotonic() - begun < SOON
    return failed.value.failure.message


@pytest.mark.defence
def test_revoked_machine_is_sent_away_on_its_open_control_connection(running_gateway, machine):
    with DaemonPeer(running_gateway, machine) as daemon:
        assert revoke_machine(machine.row, actor="tests")
        assert "revoked" in wait_sent_away(daemon)


def test_revocation_that_nobody_announced_is_found_by_looking(gateway_factory, machine, settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    with DaemonPeer(gateway_factory(), machine) as daemon:
        with without_tenant_scope("test"):
            Machine.objects.update(state=MachineState.REVOKED)
        wait_sent_away(daemon)


def test_backup_of_a_revoked_machine_is_cut_off(running_gateway, machine):
    with AgentPeer(running_gateway, machine) as agent:
        agent.begin()
        for content in contents(3):
            agent.put(content)
        revoke_machine(machine.row, actor="tests")
        wait_sent_away(agent)
    with pytest.raises((Failed, Closed)):
        AgentPeer(running_gateway, machine)


def test_connection_that_only_reads_is_cut_off_too(running_gateway, machine):
    with AgentPeer(running_gateway, machine) as agent:
        decommission_machine(machine.row, by="tests", reason="It was sold.")
        wait_sent_away(agent)


def test_machine_that_waits_for_approval_may_publish_its_record_and_nothing_else(running_gateway, machine):
    with without_tenant_scope("test"):
        Machine.objects.update(state=MachineState.PENDING, record=b"")
    with DaemonPeer(running_gateway, machine, control=False) as daemon:
        daemon.listen(6.0)  # longer than the gateway takes to look
        assert daemon.ask(messages.Ping(time=1)).message == messages.Pong(time=1)
        with pytest.raises(Failed) as failed:
            daemon.control()
        assert failed.value.code == FailureCode.REVOKED


def test_other_machines_stay(running_gateway, machine, stage):
    other = stage.machine("beta")
    with DaemonPeer(running_gateway, other) as stays, DaemonPeer(running_gateway, machine) as goes:
        revoke_machine(machine.row, actor="tests")
        wait_sent_away(goes)
        assert stays.ask(messages.Ping(time=1)).message == messages.Pong(time=1)
