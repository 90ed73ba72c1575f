"""The steps of the demonstration, from an empty directory to a restored and compared tree."""

from __future__ import annotations

import json
import os
import secrets
import sysconfig
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backup_platform.embedded.demonstration.commands import (
    AGENT,
    last_object,
    run,
    shell_environment,
    shown,
    unsaved,
)
from backup_platform.embedded.demonstration.comparing import Comparison, compare_trees
from backup_platform.embedded.demonstration.telling import Teller, megabytes
from backup_platform.embedded.durable_files import write_private
from backup_platform.embedded.errors import HomeUnusable
from backup_platform.embedded.platform_processes import MANAGE

STEPS = 12
DONE, SOME_UNREAD = 0, 3
# Everything below the source, also what a backup leaves out unless asked: the comparison knows no exclusions.
BACKUP_OPTIONS = ["--no-default-exclusions", "--json", "--wait"]
# Directories of a system that are there everywhere, of a modest size, and not written to while we read them.
USUAL_SOURCES = ("/usr/share/perl", "/usr/share/zoneinfo", "/usr/share/doc")


@dataclass
class Demonstration:
    """One run, in a directory of its own below HOME/demo, as a customer called NAME."""

    home: Path
    source: Path
    teller: Teller
    name: str = field(default_factory=lambda: f"demo-{datetime.now(UTC):%Y%m%d-%H%M%S}")
    passphrase: str = field(default_factory=lambda: "-".join(secrets.token_hex(3) for _ in range(6)), repr=False)

    def __post_init__(self) -> None:
        """The directory and the shell's environment."""
        self.started = time.monotonic()
        self.directory = self.home / "demo" / self.name
        self.kit = self.directory / "kit"
        self.restored = self.directory / "restored"
        self.agent_home = self.directory / "agent"
        self.environment = shell_environment(self.home, self.agent_home, self.passphrase)

    def run(self) -> bool:
        """All steps after the platform serves; whether the restored tree equals the source. Writes demo.json."""
        self.directory.mkdir(mode=0o700, parents=True)
        self.make_customer()
        self.enroll_machine()
        self.back_up()
        summary = self.back_up_again()
        self.restore()
        comparison = self.compare()
        self.write_result(summary, comparison)
        return comparison.equal and summary.get("state") == "verified"

    def agent(self, lines: list[str], arguments: list[str], *, text: str = "", accepted: tuple[int, ...] = (0,)) -> str:
        """Run the agent, and show what was run."""
        lines.append(f"$ {shown([*AGENT, *arguments])}")
        return run([*AGENT, *arguments], self.environment, text=text, accepted=accepted)

    def manage(self, lines: list[str], arguments: list[str]) -> str:
        """Run a management command, and show what was run."""
        lines.append(f"$ {shown([*MANAGE, *arguments])}")
        return run([*MANAGE, *arguments], self.environment)

    def make_customer(self) -> None:
        """A tenant, and a vault whose private keys never leave the customer's side."""
        with self.teller.step(
            "A customer, a vault and its recovery kit",
            "The vault's keys are made on the customer's side. The platform is given the public half only:"
            " it can store and prove the data, and never read it.",
        ) as lines:
            write_private(self.directory / "passphrase", self.passphrase + "\n")
            self.agent(lines, ["vault", "create", "--out", str(self.kit)])
            self.manage(lines, ["create_tenant", self.name])
            record = str(self.kit / "vault-registration.json")
            self.manage(lines, ["add_vault", "--tenant", self.name, "--record", record])
            lines.append(f"kit: {self.kit} (passphrase in {self.directory / 'passphrase'})")
            lines.append("whoever loses kit and passphrase loses the data: nobody else can open it")

    def enroll_machine(self) -> None:
        """This computer becomes a machine of the tenant."""
        with self.teller.step(
            "This computer joins, with a string that works once",
            "It carries a one-time token, the platform's fingerprint and a one-time key. Once used, it is worthless.",
        ) as lines:
            arguments = ["create_enrollment", "--tenant", self.name, "--kit", str(self.kit), "--json"]
            string = last_object(self.manage(lines, arguments))["enrollment"]
            self.agent(lines, ["enroll", "-"], text=f"{string}\n")
            lines.append("the agent made its keys here and has its certificate; mutual TLS 1.3 from now on")

    def back_up(self) -> None:
        """The first backup, waited for until the platform has re-read every byte."""
        with self.teller.step(
            f"Backing up {self.source}",
            "Files are cut into chunks, compressed and encrypted here, then sent. 'Verified' means that the platform"
            " read back every byte from its disk and found it intact.",
        ) as lines:
            output = self.agent(lines, ["backup", str(self.source), *BACKUP_OPTIONS], accepted=(DONE, SOME_UNREAD))
            summary = last_object(output)
            if missed := unsaved(output):
                lines.extend(["not saved properly, so the comparison will differ there:", *missed])
            lines.append(
                f"{summary.get('files_new', 0):,} files, {megabytes(summary.get('bytes_read', 0))} read,"
                f" {megabytes(summary.get('bytes_sent', 0))} sent after dedup and compression"
            )
            lines.append(f"snapshot {str(summary.get('snapshot_id', ''))[:8]}: {summary.get('state')}")

    def back_up_again(self) -> dict[str, Any]:
        """The same tree once more: nothing changed, so next to nothing is read or sent."""
        with self.teller.step(
            "Backing up the same tree again",
            "Unchanged files are not even opened, and what is stored is not sent twice.",
        ) as lines:
            output = self.agent(lines, ["backup", str(self.source), *BACKUP_OPTIONS], accepted=(DONE, SOME_UNREAD))
            summary = last_object(output)
            lines.append(
                f"{summary.get('files_unmodified', 0):,} files unchanged,"
                f" {megabytes(summary.get('bytes_read', 0))} read, {megabytes(summary.get('bytes_sent', 0))} sent"
            )
        return summary

    def restore(self) -> None:
        """Everything back, elsewhere."""
        with self.teller.step(
            "Restoring it elsewhere", "A backup is worth what comes back. Every chunk is opened and checked again."
        ) as lines:
            # Root is asked whether setuid programs shall come back as such; a comparison wants everything back.
            more = ["--keep-setuid"] if os.geteuid() == 0 else []
            self.agent(lines, ["restore", "latest", "--target", str(self.restored), *more, "--json"])
            lines.append(f"restored below {self.restored}")

    def compare(self) -> Comparison:
        """Original against restored, by code that the agent does not share."""
        with self.teller.step(
            "Comparing original and restored tree",
            "Content by SHA-256, and modes, owners, times, links, hard links and extended attributes; both ways.",
        ) as lines:
            restored = os.fsencode(self.restored) + os.fsencode(self.source)
            comparison = compare_trees(os.fsencode(self.source), restored)
            lines.append(
                f"{comparison.files:,} files, {comparison.directories:,} directories, {comparison.others:,} links and"
                f" others, {megabytes(comparison.size)}: "
                + ("no difference" if comparison.equal else f"{comparison.differences} differences")
            )
            if comparison.specials:
                lines.append(
                    f"{comparison.specials:,} fifos, sockets or devices were not compared: no restore makes them"
                )
            lines.extend(comparison.examples)
        return comparison

    def write_result(self, summary: dict[str, Any], comparison: Comparison) -> None:
        """HOME/demo.json, for scripts."""
        result = {
            "files": comparison.files,
            "bytes": comparison.size,
            "state": summary.get("state"),
            "equal": comparison.equal,
            "seconds": round(time.monotonic() - self.started, 1),
        }
        write_private(self.home / "demo.json", json.dumps(result) + "\n")


def choose_source(wish: str) -> Path:
    """The tree to back up: DEMO_SOURCE, or a modest part of the system's own files. Raises HomeUnusable."""
    if wish:
        source = Path(wish).resolve()
        if not source.is_dir():
            raise HomeUnusable(f"DEMO_SOURCE is {wish}, which is not a directory.", "Name a directory to back up.")
        if not any(path.is_file() and os.access(path, os.R_OK) for path in source.rglob("*")):
            raise HomeUnusable(f"DEMO_SOURCE is {wish}, and there is no file in it that you may read.", "Name another.")
        return source
    # Debian's own standard library is complete with its compiled files, so nobody writes to it while we read.
    usual = [*sorted(Path("/usr/lib").glob("python3.[0-9]*")), *map(Path, USUAL_SOURCES)]
    for candidate in usual:
        if candidate.is_dir() and next(candidate.rglob("*"), None):
            return candidate
    return Path(sysconfig.get_path("stdlib")) / "encodings"
