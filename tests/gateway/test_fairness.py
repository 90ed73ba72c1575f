"""What one machine may take from the others."""

from __future__ import annotations

import threading

from backup_platform.catalog import commit as committing
from backup_platform.catalog.commit import MissingIds
from backup_platform.gateway.limits import GatewayLimits
from tests.gateway.agent_peer import AgentPeer, contents


def test_long_commits_leave_a_thread_for_acknowledgements(gateway_factory, stage, monkeypatch):
    busy, go_on = threading.Semaphore(0), threading.Event()

    def commit_for_ever(*arguments):
        busy.release()
        assert go_on.wait(20)
        return MissingIds([bytes(32)])

    monkeypatch.setattr(committing, "commit_snapshot", commit_for_ever)
    gateway = gateway_factory(limits=GatewayLimits(database_threads=3, commits=2))
    agents = [AgentPeer(gateway, stage.machine(f"big-{number}")) for number in range(3)]
    try:
        for agent in agents:
            agent.begin()
        slow = [threading.Thread(target=agent.commit, args=[contents(1)]) for agent in agents]
        for one in slow:
            one.start()
        assert busy.acquire(timeout=10)
        assert busy.acquire(timeout=10)
        with AgentPeer(gateway, stage.machine("small")) as agent:
            agent.begin()
            agent.put(b"one")
            agent.flush()
            assert agent.stored == 1
        assert not busy.acquire(timeout=0.1), "the third commit waits for its turn"
    finally:
        go_on.set()
        for one in slow:
            one.join(20)
        for agent in agents:
            agent.close()
    assert busy.acquire(timeout=10)
