"""`strongroom snapshots`: what there is to restore."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agents.commands.output import Output, instant, moment, size
from agents.commands.readers import Scope, reading, scope_options
from agents.errors import ExitCode

if TYPE_CHECKING:
    from agents.engine.absences import Absence
    from agents.engine.reading import Listed, SnapshotReader


@click.command()
@scope_options
def command(kit: Path | None, machine: str, from_target: str, as_json: bool, quiet: bool, retry_for: float) -> int:
    """List the snapshots of this machine, the newest first.

    Every statement is checked: a snapshot that the machine did not sign is reported as damage, and so is a hidden one
    that this machine remembers as its newest. Older ones that are not listed are named: as expired when the server has
    records that say so, else as hidden. Exit code 20: some are hidden.

    With --from-target and --kit, and without --machine, the snapshots of every machine in the store are listed.
    """
    output = Output(as_json=as_json, quiet=quiet)
    count = 0
    not_listed: list[tuple[int, int]] = []
    hidden: list[tuple[int, int]] = []
    with _readers(Scope(kit, machine, from_target), output, retry_for) as readers:
        for reader in readers:
            count += _show(reader, output, title=len(readers) > 1)
            absences = _tell_absences(reader, output)
            not_listed += _spans(absences)
            hidden += _spans([one for one in absences if one.kind == "hidden"])
    if not count:
        output.text("There are no snapshots yet. Make one with `strongroom backup PATH`.")
    output.record("summary", snapshots=count, not_listed=not_listed, hidden=hidden)
    return ExitCode.DAMAGE if hidden else ExitCode.DONE


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


def _tell_absences(reader: SnapshotReader, output: Output) -> list[Absence]:
    """Say why numbers of a machine's chain are not listed, the oldest first."""
    if not reader.gaps:
        return []
    from agents.engine.absence_words import sentence

    absences = list(reversed(reader.absences()))
    for one in absences:
        output.text(sentence(one))
        output.record("not_listed", **_absence_record(one))
    return absences


def _absence_record(one: Absence) -> dict[str, Any]:
    expired = {"expired_from": instant(one.expired_from), "expired_until": instant(one.expired_until)}
    words = {name: getattr(one, name) for name in ("because", "by", "fault") if getattr(one, name)}
    return {
        "first": one.first,
        "last": one.last,
        "state": one.kind.value,
        **(expired if one.kind == "expired" else {}),
        **words,
    }


def _spans(absences: list[Absence]) -> list[tuple[int, int]]:
    """First and last numbers of one machine's absences, neighbours joined; the oldest first."""
    spans: list[tuple[int, int]] = []
    for one in absences:
        if spans and spans[-1][1] == one.first - 1:
            spans[-1] = (spans[-1][0], one.last)
        else:
            spans.append((one.first, one.last))
    return spans


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
