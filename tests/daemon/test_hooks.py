"""Hooks: only this machine's own, without a shell, with an end."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from agents.daemon import hooks
from agents.daemon.configuration import Configuration, Hook
from agents.daemon.configuration_file import ConfigurationFile, Loaded
from agents.errors import Refused


def script(directory: Path, text: str) -> Path:
    path = directory / "hook.sh"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return path


def hook(*command: str | Path, timeout: float = 30) -> Hook:
    return Hook(command=tuple(map(str, command)), timeout_seconds=timeout)


def test_only_hooks_of_the_machines_own_configuration_are_found():
    loaded = Loaded(Configuration(hooks={"dump": hook("/bin/true")}))
    assert hooks.find(loaded, "dump").command == ("/bin/true",)
    for name in ("other", "/bin/true", "dump "):
        with pytest.raises(Refused, match="has no hook"):
            hooks.find(loaded, name)


def test_hooks_of_a_file_that_others_can_write_are_refused(tmp_path: Path):
    file = ConfigurationFile(tmp_path)
    file.path.write_text('[hooks.dump]\ncommand = ["/bin/true"]\n')
    file.path.chmod(0o666)
    file.refresh()
    with pytest.raises(Refused, match="can be written by others"):
        hooks.find(file.loaded, "dump")


def test_hook_sees_facts_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STRONGROOM_PASSPHRASE", "a secret")
    ran = hooks.run(hook(script(tmp_path, "env")), "facts", {"job": "abc", "outcome": "done"})
    assert "STRONGROOM_JOB=abc" in ran.tail
    assert "STRONGROOM_OUTCOME=done" in ran.tail
    assert "secret" not in ran.tail


def test_arguments_reach_no_shell(tmp_path: Path):
    ran = hooks.run(hook("/bin/echo", "$HOME; rm -rf x", "`id`"), "echo", {})
    assert ran.tail == "$HOME; rm -rf x `id`"


def test_end_of_the_output_is_kept_however_much_there_is(tmp_path: Path):
    ran = hooks.run(hook(script(tmp_path, "head -c 3000000 /dev/zero | tr '\\0' x; echo; echo the end")), "loud", {})
    assert ran.tail.endswith("the end")
    assert len(ran.tail) <= hooks.TAIL


def test_failing_hook_says_how_and_its_last_words(tmp_path: Path):
    with pytest.raises(hooks.HookFailed, match=r"failed \(exit code 7\)") as caught:
        hooks.run(hook(script(tmp_path, "echo no database >&2; exit 7")), "dump", {})
    assert caught.value.tail == "no database"


def test_hook_that_cannot_be_started_is_named(tmp_path: Path):
    with pytest.raises(hooks.HookFailed, match="could not be started: no such file"):
        hooks.run(hook(tmp_path / "none"), "dump", {})


def test_slow_hook_is_ended_with_everything_that_it_started(tmp_path: Path):
    slow = script(tmp_path, f"sleep 300 & echo $! > {tmp_path}/pid; echo waiting; sleep 300")
    began = time.monotonic()
    with pytest.raises(hooks.HookFailed, match=r"took longer than 0\.5 s") as caught:
        hooks.run(hook(slow, timeout=0.5), "slow", {})
    assert time.monotonic() - began < 60
    assert caught.value.tail == "waiting"
    pid = int((tmp_path / "pid").read_text())
    until = time.monotonic() + 30
    while _runs(pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_output_of_a_hook_is_streamed(tmp_path: Path):
    with hooks.start(hook("/bin/sh", "-c", "echo data; echo words >&2"), "dump", {}, stream=True) as running:
        assert os.read(running.output.fileno(), 100) == b"data\n"
        running.finish()
        assert running.tail == "words"
