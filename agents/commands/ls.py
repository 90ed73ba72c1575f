"""`strongroom ls`: what a snapshot holds."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agents.commands.output import Output, instant, moment, named
from agents.commands.readers import Scope, reading, refuse_write_only, scope_options, split_target
from agents.engine.paths import display, prefix_of
from agents.errors import NotFound

if TYPE_CHECKING:
    from protocol.stored.manifests import Entry

KINDS = {1: "file", 2: "dir", 3: "symlink", 4: "fifo", 5: "socket", 6: "chardev", 7: "blockdev"}
_FORMATS = {
    1: stat.S_IFREG,
    2: stat.S_IFDIR,
    3: stat.S_IFLNK,
    4: stat.S_IFIFO,
    5: stat.S_IFSOCK,
    6: stat.S_IFCHR,
    7: stat.S_IFBLK,
}


@click.command()
@click.argument("snapshot", metavar="SNAPSHOT[:PATH]")
@click.option("--long", "-l", "long_form", is_flag=True, help="Mode, owner, size and time too.")
@click.option("--recursive", "-R", is_flag=True, help="Everything below, not only one level.")
@scope_options
def command(
    snapshot: str,
    long_form: bool,
    recursive: bool,
    kit: Path | None,
    machine: str,
    from_target: str,
    as_json: bool,
    quiet: bool,
    retry_for: float,
) -> None:
    """List what a snapshot holds at PATH (default: the whole tree's top).

    SNAPSHOT is `latest`, an id, or the beginning of one.
    """
    output = Output(as_json=as_json, quiet=quiet)
    name, path = split_target(snapshot)
    scope = Scope(kit, machine, from_target)
    refuse_write_only(scope)
    met, shown = False, 0
    with reading(scope, output, retry_for) as (reader, _):
        opened = reader.open(reader.find(name))
        for entry in opened.entries(path):
            met = True
            if entry.part == 0 and _is_wanted(entry, path, recursive=recursive):
                shown += 1
                output.text(_long(entry) if long_form else display(entry.path))
                output.record("entry", **_record(entry))
    if not met:
        raise NotFound(f"The snapshot holds nothing at {display(path)}.", "List its top with `strongroom ls SNAPSHOT`.")
    output.record("summary", snapshot_id=opened.listed.name, entries=shown)


def _is_wanted(entry: Entry, path: bytes, *, recursive: bool) -> bool:
    """Whether to show an entry at or under the path: of a directory its contents, of anything else itself."""
    if entry.path == path:
        return KINDS[entry.type] != "dir"
    return recursive or b"/" not in entry.path[len(prefix_of(path)) :]


def _long(entry: Entry) -> str:
    mode = stat.filemode(_FORMATS[entry.type] | stat.S_IMODE(entry.mode))
    owner = f"{_owner(entry.user, entry.uid)} {_owner(entry.group, entry.gid)}"
    link = f" -> {display(entry.link)}" if entry.link else ""
    return f"{mode} {owner:17} {entry.size:>14,} {moment(entry.mtime_ns // 1000)} {display(entry.path)}{link}"


def _owner(name: str, number: int) -> str:
    return display(name.encode()) if name else str(number)


def _record(entry: Entry) -> dict[str, Any]:
    link = named(entry.link, "link") if entry.link else {}
    return {
        **named(entry.path),
        "type": KINDS[entry.type],
        "mode": f"{stat.S_IMODE(entry.mode):04o}",
        "uid": entry.uid,
        "gid": entry.gid,
        "user": entry.user,
        "group": entry.group,
        "size": entry.size,
        "mtime": instant(entry.mtime_ns // 1000),
        "mtime_ns": entry.mtime_ns,
        **link,
    }
