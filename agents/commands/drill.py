"""`strongroom drill`: prove that a snapshot can be restored, by doing it with a sample of its files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agents.commands.output import Output, moment, size, some
from agents.commands.readers import Scope, reading, refuse_write_only, scope_options
from agents.errors import AgentError, ExitCode

if TYPE_CHECKING:
    from agents.engine.drilling import DrillResult, Sample
    from agents.engine.reading import OpenedSnapshot, Source
    from protocol.wire import messages

FILES, MIB = 50, 256
MOST_FILES, MOST_MIB = 10_000, 1024 * 1024
OUTCOMES = {ExitCode.DONE: "done", ExitCode.INCOMPLETE: "warnings", ExitCode.DAMAGE: "failed"}
"""What the platform calls these ends, as of a drill that it asked for."""


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
    Exit code 20: something did not come back as it was saved. Of this machine's own snapshot the platform is told how
    it ended: without a fault, the snapshot counts as proven.
    """
    from agents.engine.drilling import Sample
    from agents.scratch import scratch
    from agents.state import AgentHome

    output = Output(as_json=as_json, quiet=quiet)
    scope = Scope(kit, machine, from_target)
    home = AgentHome()
    this_machine = home.machine().machine_id if home.is_enrolled or not from_target else b""
    refuse_write_only(scope)
    began = time.monotonic()
    with scratch(home) as directory, reading(scope, output, retry_for) as (reader, source):
        opened = reader.open(reader.find(snapshot))
        own = opened.listed.statement.machine_id == this_machine
        result = _try(opened, directory, Sample(files, mib << 20), output, _every(job_file), own=own)
        code, seconds = _code(result), time.monotonic() - began
        by_hand = own and job_file is None  # of a job, the daemon reports how it ended
        proven = _report(source, opened, result, code, seconds, output) if by_hand else None
    _tell(output, opened, result, seconds, proven)
    return code


def _try(
    opened: OpenedSnapshot, directory: Path, sample: Sample, output: Output, every: float | None, *, own: bool
) -> DrillResult:
    """Try a sample. `own`: the files may be compared with those on this machine. `every`: of a job, see `restore`."""
    from agents.engine.drilling import Drill
    from agents.progress import RestoreListener

    with RestoreListener(output, min(sample.files, opened.body.files), 0, every=every) as listener:
        return Drill(opened, directory, sample, listener, compare=own).run()


def _code(result: DrillResult) -> ExitCode:
    if result.damaged:
        return ExitCode.DAMAGE
    return ExitCode.INCOMPLETE if result.faults or result.differ else ExitCode.DONE


def _report(
    source: Source, opened: OpenedSnapshot, result: DrillResult, code: ExitCode, seconds: float, output: Output
) -> bool | None:
    """Tell the platform; whether the snapshot counts as proven now, None where nobody was told.

    What was found stands, whether or not the platform can be told of it.
    """
    from agents.transport.reading_link import ReadingLink

    if not isinstance(source, ReadingLink):
        return None
    try:
        return source.drilled(_report_of(opened, result, code, seconds))
    except AgentError as fault:
        output.warn(f"The platform could not be told how the drill ended. {fault.what}")
        return None


def _report_of(opened: OpenedSnapshot, result: DrillResult, code: ExitCode, seconds: float) -> messages.Drilled:
    """What a job's drill would report: figures, and words that name no file."""
    import secrets
    from dataclasses import asdict

    from agents.daemon.drill_words import of_drill
    from protocol.wire import limits, messages

    figures = asdict(result)
    message, advice = of_drill(figures)
    return messages.Drilled(
        drill=secrets.token_bytes(limits.SHORT_ID),
        snapshot=opened.listed.item.id,
        outcome=OUTCOMES[code],
        message=message,
        advice=advice,
        counts={**figures, "seconds": round(seconds), "exit_code": int(code)},
    )


def _every(job_file: Path | None) -> float | None:
    if job_file is None:
        return None
    from agents.daemon.job_file import read_job_file

    return read_job_file(job_file).progress_seconds


def _tell(output: Output, opened: OpenedSnapshot, result: DrillResult, seconds: float, proven: bool | None) -> None:
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
    if proven is not None:
        output.text(f"The platform was told (by hand): the snapshot is {'proven' if proven else 'not proven by it'}.")
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
        **({} if proven is None else {"proven": proven}),
    )
