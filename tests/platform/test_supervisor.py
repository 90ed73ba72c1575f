"""Children are kept alive, and none is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from backup_platform.embedded.child import LOG_LIMIT, Child, Recipe, bound_log
from backup_platform.embedded.errors import ServerFailed
from backup_platform.embedded.readiness import wait_until_ready
from backup_platform.embedded.supervisor import Supervisor

ENDLESS = """
import time
print("up", flush=True)
while True: time.sleep(60)
"""
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)" + ENDLESS
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""


def recipe(tmp_path: Path, program: str, *, stop_seconds: float = 5, ready_seconds: float = 10) -> Recipe:
    log = tmp_path / "child.log"

    async def ready() -> None:
        if not log.exists() or not log.read_text().strip():
            raise ConnectionRefusedError("not yet")

    return Recipe(
        "child",
        [sys.executable, "-c", program],
        {"PATH": os.environ["PATH"]},
        log,
        ready,
        stop_seconds=stop_seconds,
        ready_seconds=ready_seconds,
    )


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


async def test_child_that_dies_is_started_again_and_the_change_is_told(tmp_path: Path) -> None:
    changed = asyncio.Event()
    supervisor = Supervisor(lambda _line: None)
    await supervisor.start(recipe(tmp_path, ENDLESS))
    first = supervisor.pids["child"]
    supervisor.keep(changed.set)
    os.kill(first, signal.SIGKILL)
    await asyncio.wait_for(changed.wait(), 10)
    second = supervisor.pids["child"]
    assert second != first
    assert is_alive(second)
    await supervisor.stop()
    assert not is_alive(second)


async def test_child_is_kept_whatever_the_question_whether_it_serves_met(tmp_path: Path) -> None:
    """A broker that dies while the worker is asked raises an error of the client's own, which nobody foresaw."""
    said: list[str] = []
    changed = asyncio.Event()
    one = recipe(tmp_path, ENDLESS)
    asked = 0

    async def ready() -> None:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise RuntimeError("the broker went away")
        await one.ready()

    supervisor = Supervisor(said.append)
    await supervisor.start(replace(one, ready=ready))
    first = supervisor.pids["child"]
    supervisor.keep(changed.set)
    os.kill(first, signal.SIGKILL)
    await asyncio.wait_for(changed.wait(), 30)
    assert is_alive(supervisor.pids["child"])
    assert supervisor.pids["child"] != first
    await supervisor.stop()


async def test_child_that_cannot_be_started_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    changed = asyncio.Event()
    supervisor = Supervisor(said.append)
    await supervisor.start(recipe(tmp_path, ENDLESS))
    start, failures = Child.start, iter([BlockingIOError(11, "no more processes"), MemoryError()])

    async def start_now_and_then(child: Child) -> None:
        if (fault := next(failures, None)) is not None:
            raise fault
        await start(child)

    monkeypatch.setattr(Child, "start", start_now_and_then)
    supervisor.keep(changed.set)
    os.kill(supervisor.pids["child"], signal.SIGKILL)
    await asyncio.wait_for(changed.wait(), 30)
    assert is_alive(supervisor.pids["child"])
    assert sum("while it was started" in line for line in said) == 2
    await supervisor.stop()


async def test_child_that_lives_but_does_no_work_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backup_platform.embedded.supervisor.WATCH_SECONDS", 0.05)
    changed = asyncio.Event()
    supervisor = Supervisor(lambda _line: None)
    deaf = recipe(tmp_path, ENDLESS)

    async def silent() -> bool:
        return not changed.is_set()

    object.__setattr__(deaf, "silent", silent)
    await supervisor.start(deaf)
    first = supervisor.pids["child"]
    supervisor.keep(changed.set)
    await asyncio.wait_for(changed.wait(), 10)
    assert supervisor.pids["child"] != first
    assert not is_alive(first)
    await supervisor.stop()


async def test_child_that_does_not_heed_the_stop_signal_is_killed_in_time(tmp_path: Path) -> None:
    supervisor = Supervisor(lambda _line: None)
    await supervisor.start(recipe(tmp_path, DEAF, stop_seconds=0.3))
    pid = supervisor.pids["child"]
    await asyncio.wait_for(supervisor.stop(), 5)
    assert not is_alive(pid)


async def test_grandchildren_end_with_their_parent(tmp_path: Path) -> None:
    child = Child(recipe(tmp_path, PARENT))
    await child.start()
    await wait_until_ready(child)
    grandchild = int(child.recipe.log.read_text())
    assert is_alive(grandchild)
    await child.stop()
    for _ in range(100):
        if not is_alive(grandchild):
            break
        await asyncio.sleep(0.02)
    assert not is_alive(grandchild)


async def test_child_that_dies_while_starting_is_reported_with_its_last_words(tmp_path: Path) -> None:
    supervisor = Supervisor(lambda _line: None)
    doomed = recipe(tmp_path, "import sys; sys.exit('no licence to live')")

    async def never() -> None:
        raise ConnectionRefusedError

    object.__setattr__(doomed, "ready", never)
    with pytest.raises(ServerFailed, match=r"(?s)ended while starting.*no licence to live"):
        await supervisor.start(doomed)
    await supervisor.stop()


def test_children_end_when_the_supervisor_itself_is_killed(tmp_path: Path) -> None:
    program = f"""
import asyncio, sys
sys.path.insert(0, {str(Path.cwd())!r})
from tests.platform.test_supervisor import recipe, ENDLESS
from backup_platform.embedded.child import Child
from pathlib import Path
async def main():
    child = Child(recipe(Path({str(tmp_path)!r}), ENDLESS))
    await child.start()
    print(child.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    import subprocess

    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "backup_platform.settings.test"}
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment) as supervisor:
        pid = int(supervisor.stdout.readline())
        assert is_alive(pid)
        supervisor.kill()
    for _ in range(200):
        if not is_alive(pid):
            break
        signal.sigtimedwait([], 0.02)
    assert not is_alive(pid)


def test_log_is_bounded_without_losing_its_writer(tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    with log.open("ab") as writer:
        writer.write(b"x" * (LOG_LIMIT + 1))
        writer.flush()
        bound_log(log)
        writer.write(b"still here")
    assert log.read_bytes() == b"still here"
    assert (tmp_path / "web.log.1").stat().st_size == LOG_LIMIT + 1
