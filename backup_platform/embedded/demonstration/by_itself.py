"""The second half of the demonstration: a policy on a group, a schedule that fires, a daemon that does it by itself."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from backup_platform.embedded.child import ends_with_parent
from backup_platform.embedded.demonstration.commands import AGENT, StepFailed, last_object, run
from backup_platform.embedded.demonstration.showing import Demonstration
from backup_platform.embedded.platform_processes import CHECKOUT

GROUP = "Demonstration"
POLICY = "Every minute"
FIRE_SECONDS = 150
"""A cron of every minute fires within one; the daemon's backup of an unchanged tree and its verification follow."""
STOP_SECONDS = 30


class ByItself:
    """Steps that come after the comparison. The daemon keeps running until `stop`."""

    def __init__(self, shown: Demonstration) -> None:
        self.shown = shown
        self._daemon: subprocess.Popen[bytes] | None = None

    def run(self) -> bool:
        """Whether the schedule fired and the daemon's snapshot was verified."""
        self.write_policy()
        return self.watch()

    def write_policy(self) -> None:
        """A group with this machine in it, and a policy on the group."""
        with self.shown.teller.step(
            "A group and a policy",
            "An administrator says once what should happen to a group: what is saved, when, and how hard to push.",
        ) as lines:
            tenant, machine = ["--tenant", self.shown.name], str(self._status()["machine_name"])
            self.shown.manage(lines, ["create_group", *tenant, GROUP, "--machine", machine])
            settings = {
                "selection.sources": [str(self.shown.source)],
                "selection.default_exclusions": False,
                "schedule.kind": "cron",
                "schedule.cron": "* * * * *",
                "schedule.jitter_minutes": 0,
            }
            written = [f"--set={name}={json.dumps(value)}" for name, value in settings.items()]
            self.shown.manage(lines, ["create_policy", *tenant, POLICY, "--group", GROUP, *written])

    def watch(self) -> bool:
        """Start the daemon and wait for the snapshot that it makes."""
        with self.shown.teller.step(
            "The daemon does it by itself",
            "It holds one connection, is offered the job when the schedule says so, and reports."
            " The console shows the job's progress while it runs, under Jobs.",
        ) as lines:
            before = self._newest()
            lines.append("$ strongroom daemon &")
            self._daemon = subprocess.Popen(
                [*AGENT, "daemon"],
                cwd=CHECKOUT,
                env=self.shown.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=open(self.shown.directory / "daemon.log", "ab"),  # noqa: SIM115 (it outlives this block)
                start_new_session=True,
                preexec_fn=ends_with_parent(signal.SIGTERM),
            )
            made = self._wait_for_snapshot(before)
            words = (
                f"snapshot {made['snapshot_id'][:8]}, {made['seconds']:.0f} s after the daemon's start: {made['state']}"
            )
            lines.append(words)
            lines.append("the next one follows within a minute, and so on")
        return bool(made["state"] == "verified")

    def _wait_for_snapshot(self, before: dict[str, Any]) -> dict[str, Any]:
        began = time.monotonic()
        while time.monotonic() - began < FIRE_SECONDS:
            newest = self._newest()
            if newest.get("snapshot_id") != before.get("snapshot_id") and newest["state"] != "received":
                return {**newest, "seconds": time.monotonic() - began}
            if self._daemon is not None and self._daemon.poll() is not None:
                break
            time.sleep(2)
        log = (self.shown.directory / "daemon.log").read_text(errors="replace").strip().splitlines()[-6:]
        raise StepFailed("The schedule did not make a snapshot in time.", "The daemon said:\n" + "\n".join(log))

    def _newest(self) -> dict[str, Any]:
        return self._status()["newest"] or {}

    def _status(self) -> dict[str, Any]:
        return last_object(run([*AGENT, "status", "--json"], self.shown.environment))

    def stop(self) -> None:
        """End the daemon and wait for it."""
        if self._daemon is None or self._daemon.poll() is not None:
            return
        self._daemon.send_signal(signal.SIGTERM)
        try:
            self._daemon.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._daemon.kill()
            self._daemon.wait()


@contextmanager
def daemon_until_the_end(shown: Demonstration) -> Iterator[ByItself]:
    """The steps; whatever happens, their daemon is stopped."""
    steps = ByItself(shown)
    try:
        yield steps
    finally:
        steps.stop()
