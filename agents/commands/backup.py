"""`strongroom backup`: save files and directories as a snapshot."""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agents.commands.backup_sources import SIZE, open_stream
from agents.commands.output import Output, size, some
from agents.errors import AuthenticationFault, ExitCode, Temporary, UsageFault
from agents.transport.retrying import DEFAULT_RETRY_FOR

if TYPE_CHECKING:
    from typing import TypedDict, Unpack

    from agents.daemon.job_file import JobFile
    from agents.engine.link import Author, BackupOptions, BackupResult
    from agents.engine.streaming import Stream
    from agents.keys.vault_record import VaultRecord
    from agents.progress import BackupListener
    from agents.state import AgentHome
    from agents.transport.link import GatewayLink
    from agents.transport.throttle import Throttle

    class Given(TypedDict):
        """The command line, but for the paths. For the types alone: nothing of it costs time at the start."""

        exclude: tuple[str, ...]
        exclude_file: tuple[Path, ...]
        one_file_system: bool
        no_default_exclusions: bool
        include: tuple[str, ...]
        max_size: int | None
        max_age: int | None
        cache_dir_tags: bool | None
        chunker: str
        stdin_name: str | None
        stdin_hook: str | None
        limit_upload: int | None
        adaptive: bool
        tag: tuple[str, ...]
        force_read: bool
        wait: bool | None
        wait_timeout: float
        retry_for: float
        job_file: Path | None
        as_json: bool
        quiet: bool


MAX_PATTERNS = 4 << 20
POLL = (0.25, 0.5, 1.0, 2.0)
"""Seconds between questions whether a snapshot is verified; the last one repeats."""
WORKER_SILENT = 5.0
"""Seconds of waiting before the user hears that no worker lives. The platform has waited a minute before it says so."""
CHUNKERS = {"default": "fastcdc-1m", "fine": "fastcdc-64k"}
UNFINISHED = frozenset({"received", "receiving", "incomplete"})


@click.command()
@click.argument("paths", metavar="PATH…", nargs=-1, type=click.Path(path_type=bytes, readable=False))
@click.option("--exclude", "-e", multiple=True, metavar="PATTERN", help="Leave out what matches, as in .gitignore.")
@click.option(
    "--exclude-file", multiple=True, metavar="FILE", type=click.Path(path_type=Path), help="Patterns, one a line."
)
@click.option("--one-file-system", "-x", is_flag=True, help="Do not go into other mounted file systems.")
@click.option("--no-default-exclusions", is_flag=True, help="Also pseudo file systems and cache directories.")
@click.option("--include", multiple=True, metavar="PATTERN", help="Take back in what --exclude left out.")
@click.option("--max-size", type=SIZE, metavar="SIZE", help="Leave out larger files: bytes, or 500K, 20M, 2G.")
@click.option(
    "--max-age", type=click.IntRange(0, 36_500), metavar="DAYS", help="Leave out files not changed for longer."
)
@click.option("--cache-dir-tags/--no-cache-dir-tags", default=None, help="Leave out what a CACHEDIR.TAG marks.")
@click.option("--chunker", type=click.Choice(["default", "fine"]), default="default", help="fine: for disk images.")
@click.option("--stdin", "stdin_name", metavar="NAME", help="Save standard input as one file of this name.")
@click.option("--stdin-hook", metavar="HOOK", help="With --stdin: the output of a hook of agent.toml instead.")
@click.option("--limit-upload", type=click.IntRange(1), metavar="KBIT", help="Send no more than so many kbit/s.")
@click.option("--adaptive", is_flag=True, help="Send less while the connection is crowded.")
@click.option("--tag", multiple=True, help="A word to find the snapshot by.")
@click.option("--force-read", is_flag=True, help="Read every file again, whatever the cache says.")
@click.option("--wait/--no-wait", default=None, help="Return when the snapshot is verified (default on a terminal).")
@click.option(
    "--wait-timeout", type=click.FloatRange(0, 7 * 86_400), default=3600.0, show_default=True, help="Seconds."
)
@click.option(
    "--retry-for",
    type=click.FloatRange(0, 86_400),
    default=DEFAULT_RETRY_FOR,
    show_default=True,
    help="Seconds to keep trying when the gateway is away.",
)
@click.option("--job-file", type=click.Path(path_type=Path), hidden=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")
@click.option("--quiet", "-q", is_flag=True, help="No progress and no notes.")
def command(paths: tuple[bytes, ...], **given: Unpack[Given]) -> int:
    """Back up files and directories, or with --stdin what comes through a pipe.

    Each snapshot is complete in itself; what the vault has already is not sent again. Exit code 3 means that a snapshot
    was made and some sources could not be read.
    """
    from agents.state import AgentHome

    _check_sources(paths, given["stdin_name"], given["stdin_hook"])
    job = _job(given["job_file"])
    options = _options(given, job)
    output = Output(as_json=given["as_json"], quiet=given["quiet"])
    home = AgentHome()
    home.machine()
    with home.locked():
        wait = sys.stdout.isatty() if given["wait"] is None else given["wait"]
        waits = given["wait_timeout"] if wait else None
        throttle = throttle_of(home, job, given["limit_upload"], adaptive=given["adaptive"])
        with _stream(home, given["stdin_name"], given["stdin_hook"]) as stream:
            return _back_up(home, list(paths), stream, options, output, given["retry_for"], waits, throttle, job)


def _options(given: Given, job: JobFile | None) -> BackupOptions:
    """What the engine is asked for. Raises UsageFault for an exclude file that cannot be read."""
    from agents.engine.link import BackupOptions

    return BackupOptions(
        exclude=[*given["exclude"], *(pattern for file in given["exclude_file"] for pattern in read_patterns(file))],
        default_exclusions=not given["no_default_exclusions"],
        one_file_system=given["one_file_system"],
        force_read=given["force_read"],
        tags=list(given["tag"]),
        include=list(given["include"]),
        cache_dir_tags=given["cache_dir_tags"],
        max_file_size=given["max_size"],
        max_file_age_days=given["max_age"],
        chunker=CHUNKERS[given["chunker"]],
        cache=_cache_of(job),
    )


def _back_up(
    home: AgentHome,
    paths: list[bytes],
    stream: Stream | None,
    options: BackupOptions,
    output: Output,
    retry_for: float,
    waits: float | None,
    throttle: Throttle | None,
    job: JobFile | None,
) -> int:
    from agents.transport.link import GatewayLink

    began = time.monotonic()
    # The engine takes as long to load as the gateway to answer.
    threading.Thread(target=importlib.import_module, args=("agents.engine.backing_up",), daemon=True).start()
    job_id, policy = (job.job_id, job.policy) if job else (b"", "")
    link = GatewayLink(home, retry_for, output.note, throttle=throttle, job=job_id, policy=policy)
    listening = _listening(output, job)
    link.on_drain = listening.finishing
    try:
        author = make_author(home, link.connect().vault_record)
        from agents.engine.backing_up import back_up

        with listening as listener:
            result = back_up(paths, link, home, author, options, listener, stream=stream)
        state, code = result.state, ExitCode.INCOMPLETE if result.errors else ExitCode.DONE
        if waits is not None:
            state = _wait(link, result, waits, output)
            code = _waited_code(state, code)
    finally:
        link.close()
    _tell(output, result, state, time.monotonic() - began, link.retries)
    return code


def _listening(output: Output, job: JobFile | None) -> BackupListener:
    """Who shows how far the backup is; of a job, by what the platform asked for."""
    from agents.progress import BackupListener

    if job is None:
        return BackupListener(output)
    return BackupListener(
        output,
        every=job.progress_seconds,
        expected=(job.expected_files, job.expected_bytes),
        names=job.may_name_files,
    )


def _check_sources(paths: tuple[bytes, ...], stdin_name: str | None, stdin_hook: str | None) -> None:
    if stdin_hook is not None and stdin_name is None:
        raise UsageFault("--stdin-hook needs a name for what the hook gives.", "Add --stdin NAME.")
    if stdin_name is not None:
        if paths:
            raise UsageFault("Standard input is backed up alone.", "Leave out the paths, or --stdin.")
        return
    if not paths:
        raise UsageFault("Missing argument 'PATH…': there is nothing to back up.", "Name a path, or give --stdin NAME.")
    if not any(os.path.lexists(path) for path in paths):
        raise UsageFault(
            "None of the paths exists: there is nothing to back up.",
            "Check how they are spelt, here or as sources in the policy.",
        )


def _job(file: Path | None) -> JobFile | None:
    if file is None:
        return None
    from agents.daemon.job_file import read_job_file

    return read_job_file(file)


def _cache_of(job: JobFile | None) -> str:
    if job is None:
        return ""
    from agents.daemon.caches import cache_name

    return cache_name(job.policy)


def _stream(home: AgentHome, name: str | None, hook: str | None) -> AbstractContextManager[Stream | None]:
    return nullcontext() if name is None else open_stream(home.path, name, hook)


def throttle_of(home: AgentHome, job: JobFile | None, kbit: int | None, *, adaptive: bool) -> Throttle | None:
    """What holds this backup back: agent.toml, the job's policy and the command line, the strictest first."""
    if job is None and kbit is None and not adaptive and not (home.path / "agent.toml").exists():
        return None
    from agents.daemon.upload_rate import throttle_for

    settings, zone = (job.settings, job.zone) if job else ({}, "")
    return throttle_for(home.path, settings, zone, kbit, adaptive=adaptive)


def make_author(home: AgentHome, record: VaultRecord) -> Author:
    """Who signs and to whom is sealed: from the agent's own files and the verified vault record, and nothing else."""
    from agents.engine.link import Author
    from agents.keys.rsa import load_private

    machine = home.machine()
    if record.epoch != machine.epoch:
        raise AuthenticationFault(
            f"The vault is in epoch {record.epoch}, and this machine knows the secret of epoch {machine.epoch}.",
            "Enrol the machine again with a new enrolment string.",
        )
    reading_key = None if machine.write_only else load_private(home.reading_pem(), proven=True).public
    return Author(
        tenant_id=machine.tenant_id,
        vault_id=machine.vault_id,
        machine_id=machine.machine_id,
        machine_name=machine.machine_name,
        epoch=machine.epoch,
        secrets={machine.epoch: home.dedup_secret()},
        identity=load_private(home.identity_pem(), proven=True),
        recipients=record.recipients(reading_key),
    )


def read_patterns(file: Path) -> list[str]:
    """Patterns of a file, one a line; empty lines and lines that begin with # are passed over."""
    try:
        with file.open("rb") as stream:
            text = stream.read(MAX_PATTERNS).decode("utf-8", "surrogateescape")
    except OSError as fault:
        raise UsageFault(f"The exclude file {file} cannot be read: {(fault.strerror or '').lower()}.") from fault
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def wait_for_verified(link: GatewayLink, snapshot: bytes, state: str, seconds: float, output: Output) -> str:
    """Ask until the snapshot is verified or damaged; return the last state that was heard of."""
    began, told = time.monotonic(), False
    output.note("The snapshot is stored. Waiting until it is verified…")
    pauses = iter(POLL)
    while True:
        said = link.status([snapshot])
        state = said.states.get(snapshot.hex(), state)
        waited = time.monotonic() - began
        if state not in UNFINISHED or waited >= seconds:
            return state
        if not said.worker_alive and waited > WORKER_SILENT and not told:
            told = True
            output.warn("No worker is running on the platform, so nothing can be verified. Tell its operator.")
        time.sleep(min(next(pauses, POLL[-1]), max(0.0, seconds - waited)))


def _wait(link: GatewayLink, result: BackupResult, seconds: float, output: Output) -> str:
    """Wait; the snapshot is stored already, so a gateway that goes away now changes only what we can say of it."""
    try:
        return wait_for_verified(link, result.snapshot_id, result.state, seconds, output)
    except Temporary as fault:
        output.warn(f"{fault.what} The snapshot is stored; whether it is verified could not be asked.")
        return result.state


def _waited_code(state: str, code: ExitCode) -> ExitCode:
    if state == "verified":
        return code
    return ExitCode.DAMAGE if state == "damaged" else ExitCode.TEMPORARY


def _tell(output: Output, result: BackupResult, state: str, seconds: float, retries: int) -> None:
    for note in result.notes:
        output.note(note)
    output.text(f"Snapshot {result.snapshot_id.hex()[:8]} is {state}.")
    output.text(
        f"{result.files_new:,} new, {result.files_changed:,} changed, {result.files_unmodified:,} unmodified files;"
        f" {size(result.bytes)} in all, {size(result.bytes_read)} read, {size(result.bytes_sent)} sent"
        f" in {some(result.chunks_sent, 'chunk', 'chunks')}; {seconds:.1f} s."
    )
    if result.errors:
        output.text(f"{some(result.errors, 'source', 'sources')} could not be saved properly (named above).")
    if state in UNFINISHED:
        output.text("It can be restored already; `strongroom snapshots` says when it is verified.")
    output.record(
        "summary",
        snapshot_id=result.snapshot_id.hex(),
        state=state,
        sequence=result.sequence,
        files_new=result.files_new,
        files_changed=result.files_changed,
        files_unmodified=result.files_unmodified,
        files=result.files,
        directories=result.directories,
        others=result.others,
        bytes=result.bytes,
        errors=result.errors,
        bytes_read=result.bytes_read,
        bytes_sent=result.bytes_sent,
        chunks_sent=result.chunks_sent,
        duration_s=round(seconds, 3),
        notes=list(result.notes),
        retries=retries,
    )
