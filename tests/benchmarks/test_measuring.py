"""What a step cost: everything is counted, and a failure has no figure."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.measuring import ServerSide, StepFailed, peak_memory, run_step, tree_cpu

REPOSITORY = Path(__file__).resolve().parents[2]
BURN = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n"


def python(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


def test_client_is_measured(tmp_path: Path) -> None:
    sample = run_step(python(BURN + "x = b'x' * 80_000_000"), dict(os.environ), tmp_path / "log")
    assert 0.3 <= sample.cpu < 5
    assert sample.wall >= 0.3
    assert 80 < sample.rss < 150


def test_own_memory_is_not_taken_for_the_clients(tmp_path: Path) -> None:
    held = bytearray(os.urandom(1 << 20)) * 300
    sample = run_step(["true"], dict(os.environ), tmp_path / "log")
    assert len(held) > 300_000_000 > sample.rss * (1 << 20) * 6


def test_child_of_the_client_is_counted(tmp_path: Path) -> None:
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {BURN!r}])"
    assert run_step(python(code), dict(os.environ), tmp_path / "log").cpu >= 0.3


def test_server_is_counted_with_living_and_ended_children(tmp_path: Path) -> None:
    # The server burns 0.3 s in a child that ends and 0.3 s in a child that lives on, when it is told to.
    code = f"""
import subprocess, sys
sys.stdin.readline()
subprocess.run([sys.executable, "-S", "-c", {BURN!r}])
child = subprocess.Popen([sys.executable, "-S", "-c", {BURN + "print('done', flush=True); time.sleep(30)"!r}])
sys.stdin.readline()
child.kill()
"""
    with subprocess.Popen(python(code), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as server:
        assert server.stdin
        assert server.stdout
        say, hear = server.stdin.write, server.stdout.readline

        def serve(_: object) -> None:
            say("\n")
            hear()

        side = ServerSide([server.pid], server.pid)
        sample = run_step(["true"], dict(os.environ), tmp_path / "log", server=side, afterwards=serve)
        say("\n")
    assert sample.server_cpu >= 0.55  # ticks are cut off
    assert sample.cpu == pytest.approx(sample.client_cpu + sample.server_cpu)
    assert sample.server_rss > 1


def test_peak_of_a_server_begins_anew() -> None:
    with subprocess.Popen(
        python("import sys\nx = b'x' * 60_000_000\ndel x\nprint(flush=True)\nsys.stdin.readline()"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as server:
        assert server.stdin
        assert server.stdout
        server.stdout.readline()
        assert peak_memory(server.pid) > 57
        ServerSide([server.pid], server.pid).forget_peak()
        assert peak_memory(server.pid) < 40
        server.stdin.write(b"\n")


def test_failed_step_has_no_figure(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="out of ink"):
        run_step(python("print('out of ink'); raise SystemExit(3)"), dict(os.environ), tmp_path / "log")


def test_stopped_harness_takes_its_client_along(tmp_path: Path) -> None:
    code = f"""
import os, signal, sys, threading
from pathlib import Path
from benchmarks.measuring import run_step
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
client = [sys.executable, "-S", "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)"]
run_step(client, dict(os.environ), Path({str(tmp_path / "log")!r}))
"""
    with subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY) as harness:
        client = int(wait_for_line(tmp_path / "log"))
        harness.terminate()
    assert harness.returncode == 143
    assert wait_until(lambda: state_of(client) in {"gone", "Z"})


def wait_for_line(file: Path) -> str:
    assert wait_until(lambda: file.exists() and file.read_text().endswith("\n"))
    return file.read_text().strip()


def wait_until(happened: Callable[[], bool]) -> bool:
    end = time.monotonic() + 20
    while not happened() and time.monotonic() < end:
        time.sleep(0.02)
    return happened()


def state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "gone"


def test_process_that_is_gone_costs_nothing() -> None:
    assert tree_cpu([2**22 + 1]) == 0
