"""Two gateways on one home and database, behind a balancer; one of them dies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from agents.state import AgentHome
from backup_platform.catalog import sessions
from backup_platform.catalog.reading import PackReader
from backup_platform.tenants.scope import tenant_scope
from tests.end_to_end.stage import RING, World, make_world, quick_key
from tests.faults.proxy import Proxy
from tests.faults.stage import MIB, Machine, make_files
from tests.gateway.agent_peer import AgentPeer, contents, digest
from tests.gateway.stage import Stage as GatewayStage

LEASE = timedelta(seconds=2)
"""Instead of a minute: the dead gateway's lease must end before another one may take its session."""


@pytest.fixture
def world(gateway_factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A vault, an enrolled agent's maker, and one running gateway."""
    RING.start_again()
    monkeypatch.setattr("agents.keys.rsa.generate", lambda bits=3072: quick_key())
    monkeypatch.setattr(sessions, "LEASE", LEASE)
    (tmp_path / "world").mkdir()
    return make_world(tmp_path / "world", gateway_factory())


def test_agent_goes_on_at_the_other_gateway(world: World, gateway_factory, tmp_path: Path) -> None:
    first, second = world.gateway, gateway_factory()
    machine = Machine(world.agent("alpha").home, (first.host, first.port))
    source = make_files(tmp_path / "source", 16, 601)
    with Proxy((first.host, first.port), (second.host, second.port)).running() as proxy:
        machine.dial("127.0.0.1", proxy.port)
        proxy.rate = 16 * MIB
        proxy.at(10 * MIB, first.die)
        machine.back_up(source)
        assert proxy.happened == [first.die]
        assert list(second.spool.glob("*.pack")), "the second gateway stored nothing"
        machine.restores_equal(source, tmp_path / "target")
    assert_everything_acknowledged_reads_back(world, machine)
    home = AgentHome(machine.home)
    home.save_machine(replace(home.machine(), port=second.port))


def assert_everything_acknowledged_reads_back(world: World, machine: Machine) -> None:
    told = {bytes.fromhex(record.id): record for record in machine.ledger.records()}
    assert told
    with tenant_scope(world.vault.tenant_id):
        found = {one.id: one.record for one in PackReader(world.vault.number).read(list(told))}
    assert {one: record.digest.hex() for one, record in found.items()} == {
        one: record.digest for one, record in told.items()
    }


def test_restarted_gateway_lets_a_machine_go_on_at_once(gateway_factory, tmp_path: Path) -> None:
    """Its predecessor's lock is free, so its leases are worth nothing: nobody waits a minute for them."""
    stage = GatewayStage(tmp_path / "machines")
    machine, (content, other) = stage.machine(), contents(2)
    gateway = gateway_factory()
    with AgentPeer(gateway, machine) as agent:
        before = agent.begin()
        agent.put(content)
        agent.flush()
    gateway.die()
    with AgentPeer(gateway_factory(), machine) as agent:
        after = agent.begin()  # not BUSY
        assert (after.session, after.fence) == (before.session, before.fence + 1)
        assert agent.missing([digest(content), digest(other)]) == {digest(other)}


def test_living_gateway_keeps_its_leases_while_another_one_starts(gateway_factory, tmp_path: Path) -> None:
    stage = GatewayStage(tmp_path / "machines")
    gateway, machine = gateway_factory(), stage.machine()
    with AgentPeer(gateway, machine) as agent:
        agent.begin()
        gateway_factory()
        agent.put(os.urandom(1000))
        agent.flush()
        with AgentPeer(gateway, machine) as twin, pytest.raises(Exception, match="6 "):
            twin.begin()
