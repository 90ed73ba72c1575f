"""`strongroom restore`: a snapshot, or a part of it, under a directory."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agents.commands.output import Output, size, some
from agents.commands.readers import Scope, reading, refuse_write_only, scope_options, split_target
from agents.errors import ExitCode

if TYPE_CHECKING:
    from agents.engine.placing import PlacingOptions
    from agents.engine.reading import OpenedSnapshot, Source
    from agents.engine.restoring import RestoreResult


@click.command()
@click.argument("snapshot", metavar="SNAPSHOT[:PATH]")
@click.option("--target", required=True, type=click.Path(path_type=Path), help="Where the tree appears.")
@click.option("--overwrite", is_flag=True, help="Restore into a directory that is not empty, replacing files.")
@click.option("--keep-setuid", is_flag=True, help="As root: also setuid and setgid bits, and capabilities.")
@click.option("--numeric-owner", is_flag=True, help="As root: owners by number, whatever their names are here.")
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with a restore that broke off: files that are there whole are not fetched again.",
)
@click.option(
    "--wait-for-thaw",
    type=click.FloatRange(0, 24 * 30),
    metavar="HOURS",
    help="How long to wait for what lies in cold storage (24); 0 asks for it and ends. With --from-target it is asked"
    " for only if this is given, since it costs money.",
)
@click.option("--job-file", type=click.Path(path_type=Path), hidden=True)
@scope_options
def command(
    *,
    snapshot: str,
    target: Path,
    overwrite: bool,
    keep_setuid: bool,
    numeric_owner: bool,
    resume: bool,
    wait_for_thaw: float | None,
    job_file: Path | None,
    kit: Path | None,
    machine: str,
    from_target: str,
    as_json: bool,
    quiet: bool,
    retry_for: float,
) -> int:
    """Restore a snapshot under the directory --target; files appear there by their full original path.

    SNAPSHOT is `latest`, an id, or the beginning of one. The target has to be fresh or empty unless --overwrite is
    given. A file that is damaged is named and left out, everything else is restored, and the exit code is 20.

    What lies in cold storage is asked for, all at once, and waited for: that takes hours. When the wait is over the
    exit code is 5; run the same command later with --resume.

    With --from-target and --kit no server is needed: the store's files and the recovery kit are enough.
    """
    from agents.engine.placing import PlacingOptions

    output = Output(as_json=as_json, quiet=quiet)
    name, path = split_target(snapshot)
    scope = Scope(kit, machine, from_target)
    refuse_write_only(scope)
    options = PlacingOptions(overwrite or resume, keep_setuid, numeric_owner, resume)
    began = time.monotonic()
    with reading(scope, output, retry_for) as (reader, source):
        opened = reader.open(reader.find(name))
        wait = Waiting(source, wait_for_thaw)
        result = _restore(opened, path, target, options, output, _every(job_file), wait)
    _tell(output, opened, target, result, time.monotonic() - began)
    if result.damaged:
        return ExitCode.DAMAGE
    return ExitCode.INCOMPLETE if result.errors else ExitCode.DONE


def _restore(
    opened: OpenedSnapshot,
    path: bytes,
    target: Path,
    options: PlacingOptions,
    output: Output,
    every: float | None,
    wait: Waiting,
) -> RestoreResult:
    """Put what lies at `path` under the target directory. `every`: seconds between words of progress, for a job."""
    from agents.engine.restoring import Restorer, Target
    from agents.progress import RestoreListener

    whole = (opened.body.files, opened.body.content_bytes) if path == b"/" else (0, 0)
    listening = RestoreListener(output, *whole, every=every)
    with Target(target, overwrite=options.overwrite) as descriptor, listening as listener:
        wait.prepare(opened, path, output.note, listener.waits)
        return Restorer(opened, path, descriptor, options, listener).run()


@dataclass(frozen=True)
class Waiting:
    """How long to wait for cold storage, and who asks it; None: as long as is usual there."""

    source: Source
    hours: float | None

    def prepare(
        self, opened: OpenedSnapshot, path: bytes, tell: Callable[[str], None], phase: Callable[[bool], None]
    ) -> None:
        """Have what this restore needs of the snapshot asked for when it is met, and nothing else."""
        from agents.engine.reading import may_hold
        from agents.transport.reading_link import ReadingLink
        from agents.transport.thawing import DEFAULT_WAIT, Thawing, ThawScope

        if not isinstance(self.source, ReadingLink):
            from agents.from_target.link import StoreLink

            assert isinstance(self.source, StoreLink)
            self.source.wait_for_thaw(self.hours, phase)
            return
        blocks = [] if path == b"/" else [ref.block_id for ref in opened.body.segments if may_hold(ref, path)]
        hours = DEFAULT_WAIT if self.hours is None else self.hours
        self.source.wait_for_thaw(Thawing(ThawScope(opened.listed.item.id, blocks), hours, tell, phase))


def _every(job_file: Path | None) -> float | None:
    if job_file is None:
        return None
    from agents.daemon.job_file import read_job_file

    return read_job_file(job_file).progress_seconds


def _tell(output: Output, opened: OpenedSnapshot, target: Path, result: RestoreResult, seconds: float) -> None:
    done = [
        f"{some(result.files, 'file', 'files')} ({size(result.bytes)})",
        some(result.directories, "directory", "directories"),
        some(result.symlinks, "link", "links"),
    ]
    if result.kept:
        output.text(f"{some(result.kept, 'file was', 'files were')} there already, and whole.")
    source = f"snapshot {opened.listed.name[:8]}"
    output.text(f"Restored {', '.join(done)} of {source} to {target} in {seconds:.1f} s.")
    if result.skipped:
        output.text(
            f"Not made, and named above: {some(result.skipped, 'fifo, socket or device', 'fifos, sockets or devices')}."
        )
    if result.warnings:
        output.text(f"{some(result.warnings, 'thing is not as it was', 'things are not as they were')} (named above).")
    if result.errors:
        damaged = f", {result.damaged:,} of them damaged" if result.damaged else ""
        output.text(f"{some(result.errors, 'entry was', 'entries were')} NOT restored (named above){damaged}.")
    output.record(
        "summary",
        snapshot_id=opened.listed.name,
        target=str(target),
        files=result.files,
        directories=result.directories,
        symlinks=result.symlinks,
        bytes=result.bytes,
        skipped=result.skipped,
        warnings=result.warnings,
        kept=result.kept,
        errors=result.errors,
        damaged=result.damaged,
        duration_s=round(seconds, 3),
    )
