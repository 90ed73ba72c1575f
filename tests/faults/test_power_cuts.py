"""A power cut: what was never fsynced is gone. Nothing that was acknowledged is among it.

Two ways. A file layer that forgets what was not fsynced, with the power cut after each single call of a backup; and an
ext4 image under a real gateway, copied while it works and mounted as the disk would be found.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from protocol.stored.errors import FormatError
from protocol.stored.packs import scan_records
from tests.faults.forgetful_files import ForgetfulFileLayer
from tests.faults.mounts import cannot_loop, make_image, mounted_image
from tests.faults.proxy import Proxy
from tests.faults.stage import MIB, Machine, SecondGateway, Stage, make_files
from tests.gateway.agent_peer import BLOCK, AgentPeer, Closed, Failed, begin_when_free, block_of, contents, digest
from tests.gateway.stage import Stage as GatewayStage

CALLS = 24
"""More file calls than the small backup below makes."""


def small_backup(agent: AgentPeer, segment: list[bytes]) -> tuple[int, bytes | None]:
    """Puts and flushes, then a commit; returns how many puts were acknowledged and the snapshot, if there is one."""
    try:
        agent.begin()
        for content in segment:
            agent.put(content)
            agent.flush()
        agent.put(block_of(segment), BLOCK)
        return len(segment) + 1, agent.commit(segment).snapshot
    except (Failed, Closed):
        return agent.stored, None


@pytest.mark.defence
def test_power_cut_after_any_call_loses_nothing_acknowledged(gateway_factory, transactional_db, tmp_path) -> None:
    stage = GatewayStage(tmp_path / "machines")
    acknowledged = []
    for cut in range(1, CALLS):
        files = ForgetfulFileLayer()
        gateway, machine = gateway_factory(files=files), stage.machine(f"cut-{cut}")
        files.allowed = cut
        segment = contents(2)
        with AgentPeer(gateway, machine) as agent:
            stored, snapshot = small_backup(agent, segment)
        gateway.die()
        files.cut_power()
        after = gateway_factory()
        with AgentPeer(after, machine) as agent:
            begun = begin_when_free(agent)
            sent = [digest(content) for content in (*segment, block_of(segment))]
            assert agent.missing(sent) <= set(sent[stored:]), f"power cut after call {cut}"
            if snapshot is None:
                assert begun.head_sequence == 0
                for content in segment:
                    agent.put(content)
                agent.put(block_of(segment), BLOCK)
                snapshot = agent.commit(segment).snapshot
        with AgentPeer(after, machine) as agent:
            records, missing = agent.fetch(snapshot, digest(block_of(segment)), sent[:-1])
            assert (missing, list(records.values())) == (b"", [records[one] for one in records])
            assert {one: records[one] for one in sent[:-1]} == dict(zip(sent, segment, strict=False))
        after.stop()
        acknowledged.append(stored)
        if not files.is_cut:
            break
    assert not files.is_cut, "the backup makes more calls than were tried"
    assert set(acknowledged) == {0, 1, 2, 3}, "the cut fell between every two acknowledgements"


@pytest.mark.skipif(bool(cannot_loop()), reason=cannot_loop() or "-")
def test_disk_as_a_power_cut_leaves_it_holds_everything_acknowledged(
    stage: Stage, machine: Machine, tmp_path: Path, target: Path
) -> None:
    source = make_files(tmp_path / "source", 20, 401)
    disk = Disk(tmp_path / "image", machine, len(machine.ledger.records()))
    make_image(disk.image, 640)
    with mounted_image(disk.image, stage.home / "spool" / "spool-00image"):
        with stage.second_gateway() as gateway, Proxy(gateway.address).running() as proxy:
            machine.dial("127.0.0.1", proxy.port)
            proxy.rate = 10 * MIB
            for mebibytes in (7, 13, 19):
                proxy.at(mebibytes * MIB, lambda: disk.copy(gateway))
            machine.back_up(source)
            machine.restores_equal(source, target)
        machine.dial(*stage.gateway)
        elsewhere = records_in(stage.home / "store")
    assert len(disk.copies) == 3
    for copy, acknowledged in disk.copies:
        with mounted_image(copy, tmp_path / "mounted") as found:
            assert acknowledged - records_in(found) <= elsewhere, f"lost by a power cut after {len(acknowledged)}"
    assert disk.copies[-1][1], "nothing was acknowledged before the last cut"


@dataclass
class Disk:
    """An image, and copies of it as it was at some moments, each with what had been acknowledged just before."""

    image: Path
    machine: Machine
    before: int
    copies: list[tuple[Path, set[tuple[str, str]]]] = field(default_factory=list)

    def copy(self, gateway: SecondGateway) -> None:
        gateway.process.send_signal(signal.SIGSTOP)  # copying takes a moment, and a power cut does not
        try:
            told = self.machine.ledger.records()[self.before :]
            copy = self.image.with_name(f"copy-{len(self.copies)}")
            subprocess.run(["cp", "--sparse=always", self.image, copy], check=True, timeout=30)
        finally:
            gateway.process.send_signal(signal.SIGCONT)
        self.copies.append((copy, {(record.id, record.digest) for record in told}))


def records_in(directory: Path) -> set[tuple[str, str]]:
    """Every whole record in the pack files under a directory: its id and its digest."""
    found = set()
    for path in [*directory.rglob("*.pack"), *directory.rglob("*.open")]:
        content = path.read_bytes()
        with contextlib.suppress(FormatError, FileNotFoundError):
            records = scan_records(
                lambda offset, length, content=content: content[offset : offset + length], len(content)
            )
            found |= {(record.id.hex(), record.digest.hex()) for record in records}
    return found
