"""Many who send at once are read in turns, so that the event loop is there for whoever sends little."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from backup_platform.gateway import peer, turns
from backup_platform.gateway.turns import AT_ONCE, ROUND_BYTES, ReadingTurns
from protocol.wire import messages
from tests.gateway.agent_peer import AgentPeer, contents

KIB = 1024


@pytest.fixture
def waits(monkeypatch) -> list[int]:
    """A number for each time that somebody had to wait, where a round has little room."""
    counted, take_turn = [], ReadingTurns.wait

    def count(self, go_on):
        counted.append(self.number)
        take_turn(self, go_on)

    monkeypatch.setattr(ReadingTurns, "wait", count)
    monkeypatch.setattr(turns, "ROUND_BYTES", 32 * KIB)
    monkeypatch.setattr(peer, "LITTLE", 8 * KIB)
    return counted


@pytest.mark.defence
def test_backups_at_once_take_turns_and_all_arrive_while_others_are_answered(running_gateway, stage, waits):
    machines = [stage.machine(f"sender-{number}") for number in range(3)]
    segment = [one * (256 * KIB // len(one)) for one in contents(4)]

    def back_up(machine) -> bool:
        with AgentPeer(running_gateway, machine) as agent:
            return isinstance(agent.back_up(segment), messages.Committed)

    with ThreadPoolExecutor(3) as threads, AgentPeer(running_gateway, stage.machine("quiet")) as quiet:
        senders = [threads.submit(back_up, machine) for machine in machines]
        while wait(senders, timeout=0.02).not_done:
            assert isinstance(quiet.ask(messages.Ping(time=1)).message, messages.Pong)
        assert all(sender.result(60) for sender in senders)
    assert len(waits) > 3


def test_who_sends_little_never_waits(running_gateway, stage, waits, monkeypatch):
    monkeypatch.setattr(turns, "ROUND_BYTES", 1)
    with AgentPeer(running_gateway, stage.machine()) as agent:
        for number in range(20):
            assert agent.ask(messages.Ping(time=number)).message.time == number
    assert not waits


def test_who_waits_goes_on_in_order_and_a_few_in_each_round():
    went: list[tuple[int, int]] = []

    async def run() -> None:
        shared = ReadingTurns(asyncio.get_running_loop())
        assert not shared.spent(ROUND_BYTES)
        assert shared.spent(1)
        for name in range(2 * AT_ONCE + 1):
            shared.wait(lambda name=name: went.append((shared.number, name)))
        done = asyncio.Event()
        shared.wait(done.set)
        await done.wait()
        assert not shared.spent(1), "each round counts for itself"

    asyncio.run(asyncio.wait_for(run(), 10))
    assert [name for _, name in went] == list(range(2 * AT_ONCE + 1))
    assert [number for number, _ in went] == [1] * AT_ONCE + [2] * AT_ONCE + [3]
