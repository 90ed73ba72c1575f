"""Strongroom as a contender: an agent of this checkout against a whole embedded platform.

The clock of a backup stops when `backup --no-wait` exits: the commit was acknowledged. Then the step waits until the
snapshot is verified and the worker has nothing left to do, and the CPU of all that counts as well. `check` is
`manage.py scrub`: the server reads every stored byte again, without keys.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from benchmarks.contenders import fresh_directory
from benchmarks.embedded_platform import AGENT, CHECKOUT, MANAGE, EmbeddedPlatform
from benchmarks.measuring import Sample, StepFailed, run_step, size_of


class Ours:
    """Agent, gateway, web, worker, beat, PostgreSQL and Valkey, all of them counted."""

    name = "ours"

    def __init__(self, work: Path) -> None:
        self.work = work / "ours"
        self.platform = EmbeddedPlatform(self.work)

    def open(self) -> None:
        """A serving platform with one enrolled machine."""
        self.platform.start()
        self.agent = self.platform.join(self.work / "agent", "bench")
        self.platform.wait_for_rest()

    def backup(self, source: Path) -> Sample:
        """`backup --no-wait`; `more` has the seconds until verified, and what the agent said of itself."""
        log = self.work / "backup.log"
        log.unlink(missing_ok=True)
        command = [*AGENT, "backup", str(source), "--no-default-exclusions", "--no-wait", "--json", "--quiet"]

        def settle(sample: Sample) -> None:
            summary = last_object(log)
            sample.more["verified"] = self.platform.wait_for_verified(summary["snapshot_id"])
            sample.more.update({name: summary[name] for name in ("bytes_read", "bytes_sent", "chunks_sent", "errors")})
            self.platform.wait_for_rest()

        sample = run_step(
            command, self.agent, log, directory=CHECKOUT, server=self.platform.server_side(), afterwards=settle
        )
        if sample.more["errors"]:
            raise StepFailed(f"{sample.more['errors']:.0f} sources could not be read.")
        return sample

    def restore(self, target: Path) -> Sample:
        """`restore latest`."""
        more = ["--keep-setuid"] if os.geteuid() == 0 else []
        command = [*AGENT, "restore", "latest", "--target", str(target), *more, "--json", "--quiet"]
        log = self.work / "restore.log"
        return run_step(command, self.agent, log, directory=CHECKOUT, server=self.platform.server_side())

    def restored(self, target: Path, source: Path) -> Path:
        """Files appear by their full original path."""
        return target / str(source).lstrip("/")

    def check(self) -> Sample:
        """Everything, read on the server."""
        log = self.work / "scrub.log"
        server = self.platform.server_side()
        return run_step([*MANAGE, "scrub", "--json"], self.platform.environment, log, directory=CHECKOUT, server=server)

    def size(self) -> float:
        """Packs, roots, statements and records, wherever they are. The database is named apart."""
        return size_of(self.platform.home / "store", self.platform.home / "spool")

    def close(self) -> None:
        """Stop and remove."""
        self.platform.stop()


class AnotherMachine(Ours):
    """A further machine of a platform that runs already."""

    def __init__(self, first: Ours, name: str) -> None:
        self.platform, self.work = first.platform, fresh_directory(first.work / name)
        self.agent = self.platform.join(self.work / "agent", name)

    def open(self) -> None:
        """Nothing to do: it has joined."""

    def close(self) -> None:
        """The platform is the first machine's to stop."""


def last_object(log: Path) -> dict:
    """The summary that an agent printed last."""
    for line in reversed(log.read_text(errors="replace").splitlines()):
        if line.startswith("{"):
            found = json.loads(line)
            if found.get("message_type") == "summary":
                return found
    raise StepFailed(f"{log.name} has no summary.")
