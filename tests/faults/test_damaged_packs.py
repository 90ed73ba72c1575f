"""Packs that were harmed on the disk: scrub names pack and snapshot, the snapshot is *damaged*, restores stay honest.

Each snapshot is made in two runs, so that it has its older files in a pack that is harmed, and its newer ones and its
manifest in one that is not.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.trees import describe
from tests.faults.stage import Machine, Stage, make_files


def flip_a_bit(pack: Path, other: Path) -> None:
    with pack.open("r+b") as file:
        file.seek(pack.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 4]))


def cut_short(pack: Path, other: Path) -> None:
    os.truncate(pack, pack.stat().st_size * 2 // 3)


def remove(pack: Path, other: Path) -> None:
    pack.unlink()


def swap(pack: Path, other: Path) -> None:
    """A sound pack of the same vault takes its place."""
    pack.unlink()
    pack.write_bytes(other.read_bytes())


HARMS: dict[str, Callable[[Path, Path], None]] = {harm.__name__: harm for harm in (flip_a_bit, cut_short, remove, swap)}
LOST = {"flip_a_bit": range(1, 2), "cut_short": range(1, 3), "remove": range(3, 99), "swap": range(3, 99)}
"""How many of the three large older files may be lost (the small ones share one chunk)."""


@dataclass
class Harmed:
    """One snapshot, the older of its packs, and what a scrub said once that was harmed."""

    source: Path
    pack: str
    snapshot: str
    scrub: dict[str, Any] = field(default_factory=dict)

    @property
    def newer(self) -> set[bytes]:
        return {b"newer", b"newer/one", b"newer/two"}


@pytest.fixture(scope="module")
def victim(stage: Stage) -> Machine:
    return stage.machine("victim")


@contextmanager
def new_pack(stage: Stage) -> Iterator[list[str]]:
    """The names of packs that appear in this block."""
    before, found = {path.name for path in stage.packs()}, []
    yield found
    found += {path.name for path in stage.packs()} - before


@pytest.fixture(scope="module")
def harmed(stage: Stage, victim: Machine, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Harmed]:
    """Four snapshots, each harmed in its own way; then one scrub."""
    found = {}
    for number, name in enumerate(HARMS):
        source = make_files(tmp_path_factory.mktemp("harmed") / "source", 3, 500 + number)
        with new_pack(stage) as packs:
            victim.back_up(source)
        (source / "newer").mkdir()
        for new in ("one", "two"):
            (source / "newer" / new).write_bytes(os.urandom(300_000))
        with new_pack(stage) as others:
            said = victim.json("backup", source, "--wait", "--wait-timeout", "60")
        assert said.summary["state"] == "verified", said
        found[name] = Harmed(source, packs[0], said.summary["snapshot_id"])
    places = {path.name: path for path in stage.packs()}
    for name, harm in HARMS.items():
        harm(places[found[name].pack], places[others[0]])
    scrubbed = stage.manage("scrub", "--json")
    assert scrubbed.returncode == 20, scrubbed.stderr
    for one in found.values():
        one.scrub = json.loads(scrubbed.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("harm", HARMS)
def test_scrub_names_the_pack_and_its_snapshots(harmed: dict[str, Harmed], harm: str) -> None:
    one = harmed[harm]
    assert one.pack.removesuffix(".pack") in one.scrub["damaged_packs"]
    assert one.snapshot in one.scrub["damaged_snapshots"]


@pytest.mark.parametrize("harm", HARMS)
def test_restore_of_a_damaged_snapshot_brings_all_that_is_whole_and_nothing_wrong(
    harmed: dict[str, Harmed], victim: Machine, target: Path, harm: str
) -> None:
    one = harmed[harm]
    said = victim.json("restore", one.snapshot, "--target", target)
    assert said.code == 20, said
    expected, got = describe(one.source), describe(target / one.source.relative_to("/"))
    wrong = [path for path in got if len(got[path]) > 5 and got[path] != expected[path]]
    assert wrong == []
    assert one.newer <= set(got)
    lost = {path for path in set(expected) - set(got) if b"file-" in path}
    assert min(len(lost), 3) in LOST[harm] or len(set(expected) - set(got)) == 20, lost
    named = {Path(record["path"]) for record in said.records if record["message_type"] == "error"}
    gone = {one.source / os.fsdecode(path) for path in set(expected) - set(got)}
    assert gone <= named, "every path that is lost is named"
    # A part of the list that is lost is named by its ends; here that can only be the way to the source.
    assert named - gone <= set(one.source.parents)


def test_damaged_snapshots_are_shown_as_such(harmed: dict[str, Harmed], victim: Machine) -> None:
    said = victim.json("snapshots")
    shown = {record["id"]: record["state"] for record in said.records if record["message_type"] == "snapshot"}
    assert {shown[one.snapshot] for one in harmed.values()} == {"damaged"}


def test_next_backup_of_the_same_files_heals_the_older_snapshot(
    harmed: dict[str, Harmed], victim: Machine, target: Path
) -> None:
    """The server asks for what it lost, the files still hash to it, and the older snapshot is whole again."""
    one = harmed["flip_a_bit"]
    said = victim.json("backup", one.source, "--wait", "--wait-timeout", "60")
    assert said.summary["state"] == "verified", said
    victim.restores_equal(one.source, target, one.snapshot)
