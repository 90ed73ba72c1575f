"""`strongroom snapshots`: what there is to restore."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agents.commands.output import Output, instant, moment, size
from agents.commands.readers import Scope, reading, scope_options

if TYPE_CHECKING:
    from agents.engine.reading import Listed, SnapshotReader


@click.command()
@scope_options
def command(kit: Path | None, machine: str, from_target: str, as_json: bool, quiet: bool, retry_for: float) -> None:
    """List the snapshots of this machine, the newest first.

    Every statement is checked: a snapshot that the machine did not sign is reported as damage, and so is a hidden one
    that this machine remembers as its newest. Older ones that are not listed are named.

    With --from-target and --kit, and without --machine, the snapshots of every machine in the store are listed.
    """
    output = Output(as_json=as_json, quiet=quiet)
    count, not_listed = 0, []
    with _readers(Scope(kit, machine, from_target), output, retry_for) as readers:
        for reader in readers:
            count += _show(reader, output, title=len(readers) > 1)
            gaps = list(reversed(reader.gaps))
            for first, last in gaps:
                output.text(f"{_numbers(first, last)} not listed: expired, or hidden by the server.")
            not_listed += gaps
    if not count:
        output.text("There are no snapshots yet. Make one with `strongroom backup PATH`.")
    output.record("summary", snapshots=count, not_listed=not_listed)


@contextmanager
def _readers(scope: Scope, output: Output, retry_for: float) -> Iterator[list[SnapshotReader]]:
    if scope.from_target and scope.kit is not None and not scope.machine:
        from agents.commands.store_readers import reading_all

        with reading_all(scope, output) as readers:
            yield readers
    else:
        with reading(scope, output, retry_for) as (reader, _):
            yield [reader]


def _show(reader: SnapshotReader, output: Output, *, title: bool) -> int:
    """Print a machine's snapshots; how many there are. With a title, which machine's they are."""
    count = 0
    for listed in reader.listed():
        if not count:
            if title:
                output.text(f"{_plain(listed.item.machine_name) or '?'} ({listed.item.machine_id.hex()})")
            output.text(f"{'snapshot':10}{'time':21}{'state':10}{'files':>10}{'size':>12}{'sent':>12}{'errors':>8}")
        count += 1
        output.text(_line(listed))
        output.record("snapshot", **_record(listed))
    return count


def _numbers(first: int, last: int) -> str:
    return f"Snapshot number {first} is" if first == last else f"Snapshots number {first} to {last} are"


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def _line(listed: Listed) -> str:
    item = listed.item
    return (
        f"{listed.name[:8]:10}{moment(listed.statement.time):21}{_plain(item.state):10}{item.files:>10,}"
        f"{size(item.bytes):>12}{size(item.bytes_sent):>12}{item.errors:>8,}"
    )


def _record(listed: Listed) -> dict[str, Any]:
    item = listed.item
    return {
        "id": listed.name,
        "machine": item.machine_name,
        "machine_id": listed.statement.machine_id.hex(),
        "sequence": listed.statement.sequence,
        "state": item.state,
        "time": instant(listed.statement.time),
        "received_at": instant(item.received_at),
        "files": item.files,
        "bytes": item.bytes,
        "bytes_sent": item.bytes_sent,
        "errors": item.errors,
    }
