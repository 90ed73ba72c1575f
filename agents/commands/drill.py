"""`strongroom drill`: prove that a snapshot can be restored, by doing it with a sample of its files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agents.commands.output import Output, moment, size, some
from agents.commands.readers import Scope, reading, refuse_write_only, scope_options
from agents.errors import ExitCode

if TYPE_CHECKING:
    from agents.engine.drilling import DrillResult
    from agents.engine.reading import OpenedSnapshot

FILES, MIB = 50, 256
MOST_FILES, MOST_MIB = 10_000, 1024 * 1024


@click.command()
@click.argument("snapshot", metavar="[SNAPSHOT]", default="latest")
@click.option("--files", type=click.IntRange(1, MOST_FILES), default=FILES, show_default=True, help="Files to try.")
@click.option(
    "--mib", type=click.IntRange(1, MOST_MIB), default=MIB, show_default=True, help="Content to try at most, in MiB."
)
@click.option("--job-file", type=click.Path(path_type=Path), hidden=True)
@scope_options
def command(
    snapshot: str,
    files: int,
    mib: int,
    job_file: Path | None,
    kit: Path | None,
    machine: str,
    from_target: str,
    as_json: bool,
    quiet: bool,
    retry_for: float,
) -> int:
    """Restore a random sample of a snapshot's files for trial, compare them, and throw them away.

    SNAPSHOT is `latest` (if none is named), an id, or the beginning of one. Each file is restored into a directory of
    its own in the agent's home, read back, compared with what was recorded when it was saved and, where it has not
    changed since, with the file on this machine. Of a large file some parts in a row are tried in memory.
    Exit code 20: something did not come back as it was saved.
    """
    from agents.engine.drilling import Drill, Sample
    from agents.progress import RestoreListener
    from agents.scratch import scratch
    from agents.state import AgentHome

    output = Output(as_json=as_json, quiet=quiet)
    scope = Scope(kit, machine, from_target)
    home = AgentHome()
    this_machine = home.machine().machine_id if home.is_enrolled or not from_target else b""
    refuse_write_only(scope)
    began = time.monotonic()
    with scratch(home) as directory, reading(scope, output, retry_for) as (reader, _):
        opened = reader.open(reader.find(snapshot))
        own = opened.listed.statement.machine_id == this_machine
        wanted = min(files, opened.body.files)
        with RestoreListener(output, wanted, 0, every=_every(job_file)) as listener:
            result = Drill(opened, directory, Sample(files, mib << 20), listener, compare=own).run()
    _tell(output, opened, result, time.monotonic() - began)
    if result.damaged:
        return ExitCode.DAMAGE
    return ExitCode.INCOMPLETE if result.faults or result.differ else ExitCode.DONE


def _every(job_file: Path | None) -> float | None:
    if job_file is None:
        return None
    from agents.daemon.job_file import read_job_file

    return read_job_file(job_file).progress_seconds


def _tell(output: Output, opened: OpenedSnapshot, result: DrillResult, seconds: float) -> None:
    listed = opened.listed
    output.text(
        f"Tried {some(result.files, 'file', 'files')} ({size(result.bytes)}) of {opened.body.files:,} in snapshot"
        f" {listed.name[:8]} of {moment(listed.statement.time)}, in {seconds:.1f} s."
    )
    if result.in_part:
        output.text(f"Of {some(result.in_part, 'large file', 'large files')} only a part was tried.")
    if result.compared:
        output.text(f"Compared with the file on this machine: {result.compared:,}.")
    if result.faults:
        damaged = f", {result.damaged:,} of them because of damage" if result.damaged else ""
        output.text(f"NOT as saved (named above): {result.faults:,}{damaged}.")
    if result.differ:
        output.text(f"Changed on this machine although size and time are the same (named above): {result.differ:,}.")
    if not result.faults:
        output.text("Everything that was tried came back as it was saved. Nothing of it was kept.")
    output.record(
        "summary",
        snapshot_id=listed.name,
        files=result.files,
        in_part=result.in_part,
        bytes=result.bytes,
        faults=result.faults,
        damaged=result.damaged,
        compared=result.compared,
        differ=result.differ,
        seconds=round(seconds),
        duration_s=round(seconds, 3),
    )
