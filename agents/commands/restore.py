"""`strongroom restore`: a snapshot, or a part of it, under a directory."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agents.commands.output import Output, size, some
from agents.commands.readers import Scope, reading, refuse_write_only, scope_options, split_target
from agents.errors import ExitCode

if TYPE_CHECKING:
    from agents.engine.placing import PlacingOptions
    from agents.engine.reading import OpenedSnapshot
    from agents.engine.restoring import RestoreResult


@click.command()
@click.argument("snapshot", metavar="SNAPSHOT[:PATH]")
@click.option("--target", required=True, type=click.Path(path_type=Path), help="Where the tree appears.")
@click.option("--overwrite", is_flag=True, help="Restore into a directory that is not empty, replacing files.")
@click.option("--keep-setuid", is_flag=True, help="As root: also setuid and setgid bits, and capabilities.")
@click.option("--numeric-owner", is_flag=True, help="As root: owners by number, whatever their names are here.")
@click.option("--job-file", type=click.Path(path_type=Path), hidden=True)
@scope_options
def command(
    snapshot: str,
    target: Path,
    overwrite: bool,
    keep_setuid: bool,
    numeric_owner: bool,
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

    With --from-target and --kit no server is needed: the store's files and the recovery kit are enough.
    """
    from agents.engine.placing import PlacingOptions

    output = Output(as_json=as_json, quiet=quiet)
    name, path = split_target(snapshot)
    scope = Scope(kit, machine, from_target)
    refuse_write_only(scope)
    options = PlacingOptions(overwrite=overwrite, keep_setuid=keep_setuid, numeric_owner=numeric_owner)
    began = time.monotonic()
    with reading(scope, output, retry_for) as (reader, _):
        opened = reader.open(reader.find(name))
        result = _restore(opened, path, target, options, output, _every(job_file))
    _tell(output, opened, target, result, time.monotonic() - began)
    if result.damaged:
        return ExitCode.DAMAGE
    return ExitCode.INCOMPLETE if result.errors else ExitCode.DONE


def _restore(
    opened: OpenedSnapshot, path: bytes, target: Path, options: PlacingOptions, output: Output, every: float | None
) -> RestoreResult:
    """Put what lies at `path` under the target directory. `every`: seconds between words of progress, for a job."""
    from agents.engine.restoring import Restorer, Target
    from agents.progress import RestoreListener

    whole = (opened.body.files, opened.body.content_bytes) if path == b"/" else (0, 0)
    listening = RestoreListener(output, *whole, every=every)
    with Target(target, overwrite=options.overwrite) as descriptor, listening as listener:
        return Restorer(opened, path, descriptor, options, listener).run()


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
        errors=result.errors,
        damaged=result.damaged,
        duration_s=round(seconds, 3),
    )
