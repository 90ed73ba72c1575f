"""A disk that is full, and a disk whose fsync fails: under a real gateway, in a spool of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.mounts import cannot_mount, tmpfs
from tests.faults.proxy import Proxy
from tests.faults.stage import MIB, Machine, SecondGateway, Stage, make_files, wait_until

SPOOL = "spool-00small"
"""A name that sorts first: the second gateway takes this spool, because nobody holds it."""


@pytest.fixture
def small_spool(stage: Stage) -> Iterator[Path]:
    """An empty spool on a file system of 320 MiB, a little more than what a gateway wants to be free."""
    if reason := cannot_mount():
        pytest.skip(reason)
    directory = stage.home / "spool" / SPOOL
    with tmpfs(directory, 320):
        yield directory


def wait_until_packs_left(directory: Path) -> None:
    """Sealed packs are placed by the worker and then removed from the spool."""
    wait_until(lambda: not [*directory.glob("*.pack"), *directory.glob("*.open")], "the spool to be emptied", 60)


def test_full_disk_is_a_temporary_error_and_the_backup_goes_on_when_there_is_space(
    stage: Stage, machine: Machine, small_spool: Path, tmp_path: Path, target: Path
) -> None:
    source, filler = make_files(tmp_path / "source", 24, 301), small_spool / "filler"

    def fill() -> None:
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(small_spool).free - 3 * MIB)

    with stage.second_gateway() as gateway, Proxy(gateway.address).running() as proxy:
        assert (small_spool / "lock").exists(), "the second gateway works in another spool"
        machine.dial("127.0.0.1", proxy.port)
        proxy.rate = 16 * MIB
        proxy.at(8 * MIB, fill)
        said = machine.json("backup", source, "--no-wait", "--retry-for", "4")
        assert (said.code, proxy.happened) == (5, [fill]), said
        assert "full" in said.err, said.err
        stage.check_ledgers(machine)
        filler.unlink()
        machine.back_up_when_free(source)
        machine.restores_equal(source, target)
        stage.check_ledgers(machine)
        wait_until_packs_left(small_spool)
    machine.dial(*stage.gateway)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may trace another process")
def test_file_whose_fsync_failed_is_left_alone_and_the_backup_goes_on_in_a_new_pack(
    stage: Stage, machine: Machine, tmp_path: Path, target: Path
) -> None:
    source, trace = make_files(tmp_path / "source", 8, 302), tmp_path / "trace"
    with stage.second_gateway() as gateway, Proxy(gateway.address).running() as proxy:
        proxy.rate = 8 * MIB
        machine.dial("127.0.0.1", proxy.port)
        with injected(gateway, "fdatasync:error=EIO:when=1", trace):
            machine.back_up(source)
        stage.check_ledgers(machine)
        machine.restores_equal(source, target)
    machine.dial(*stage.gateway)
    failed, touched = read_trace(trace)
    assert failed, "no fdatasync failed"
    assert touched == []


class injected:  # noqa: N801 - reads as a statement
    """strace on a running process, from here to there."""

    def __init__(self, gateway: SecondGateway, fault: str, trace: Path) -> None:
        self.command = [
            "strace", "-f", "-y", "-o", str(trace), "-e", "trace=write,writev,pwritev,fdatasync,fsync",
            "-e", f"inject={fault}", "-p", str(gateway.process.pid),
        ]  # fmt: skip
        self.threads = Path(f"/proc/{gateway.process.pid}/task")

    def __enter__(self) -> None:
        self.process = subprocess.Popen(self.command, stderr=subprocess.DEVNULL)
        wait_until(self._attached, "strace to attach", 20)

    def _attached(self) -> bool:
        assert self.process.poll() is None, "strace cannot attach here"
        return all("TracerPid:\t0" not in (thread / "status").read_text() for thread in self.threads.iterdir())

    def __exit__(self, *fault: object) -> None:
        self.process.terminate()
        self.process.wait(20)


CALL = re.compile(r"\b(write|writev|pwritev|fdatasync|fsync)\(\d+<([^>]+\.(?:open|new))>")


def read_trace(trace: Path) -> tuple[set[str], list[str]]:
    """Files whose fdatasync failed, and calls that touched them afterwards."""
    failed: set[str] = set()
    touched = []
    for line in trace.read_text(errors="replace").splitlines():
        call = CALL.search(line)
        if call is None:
            continue
        if call[2] in failed:
            touched.append(line)
        if "EIO" in line:
            failed.add(call[2])
    return failed, touched
