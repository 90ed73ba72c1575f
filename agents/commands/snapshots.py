"""`strongroom snapshots`: what there is to restore."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agents.commands.output import Output, instant, moment, size
from agents.commands.readers import Scope, reading, scope_options

if TYPE_CHECKING:
    from agents.engine.reading import Listed


@click.command()
@scope_options
def command(kit: Path | None, machine: str, as_json: bool, quiet: bool, retry_for: float) -> None:
    """List the snapshots of this machine, the newest first.

    Every statement is checked: a snapshot that the machine did not sign is reported as damage, and so is a hidden one
    that this machine remembers as its newest. Older ones that are not listed are named.
    """
    output = Output(as_json=as_json, quiet=quiet)
    count = 0
    with reading(Scope(kit, machine), output, retry_for) as (reader, _):
        for listed in reader.listed():
            if not count:
                output.text(f"{'snapshot':10}{'time':21}{'state':10}{'files':>10}{'size':>12}{'sent':>12}{'errors':>8}")
            count += 1
            output.text(_line(listed))
            output.record("snapshot", **_record(listed))
        gaps = list(reversed(reader.gaps))
    if not count:
        output.text("There are no snapshots yet. Make one with `strongroom backup PATH`.")
    for first, last in gaps:
        output.text(f"{_numbers(first, last)} not listed: expired, or hidden by the server.")
    output.record("summary", snapshots=count, not_listed=gaps)


def _numbers(first: int, last: int) -> str:
    return f"Snapshot number {first} is" if first == last else f"Snapshots number {first} to {last} are"


def _line(listed: Listed) -> str:
    item = listed.item
    state = "".join(c if c.isprintable() else "?" for c in item.state)
    return (
        f"{listed.name[:8]:10}{moment(listed.statement.time):21}{state:10}{item.files:>10,}"
        f"{size(item.bytes):>12}{size(item.bytes_sent):>12}{item.errors:>8,}"
    )


def _record(listed: Listed) -> dict[str, Any]:
    item = listed.item
    return {
        "id": listed.name,
        "machine": item.machine_name,
        "sequence": listed.statement.sequence,
        "state": item.state,
        "time": instant(listed.statement.time),
        "received_at": instant(item.received_at),
        "files": item.files,
        "bytes": item.bytes,
        "bytes_sent": item.bytes_sent,
        "errors": item.errors,
    }
