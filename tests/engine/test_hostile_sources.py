"""What any user of a machine may put into a tree: none of it may cost the backup of everything else."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from agents.engine import manifests, saving, segment_queue
from agents.engine.contents import RangeReader
from agents.engine.describing import Describer, bounded_time, key_of, trusted_key
from agents.errors import Refused
from protocol.stored.manifests import EntryType
from tests.engine.machines import TICK, Machine
from tests.engine.memory_link import Vault

MIB = 1024 * 1024
FAR_FUTURE, FAR_PAST = 10**23, -(10**23)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path, Vault())


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "good").write_bytes(b"good")
    return tree


class Stat:
    """What lstat says, with some fields changed."""

    def __init__(self, info: os.stat_result, **changes: int) -> None:
        self._info = info
        self.__dict__.update(changes)

    def __getattr__(self, name: str):
        return getattr(self._info, name)


@pytest.mark.parametrize("mtime", [FAR_FUTURE, FAR_PAST])
def test_time_that_no_manifest_can_hold_is_saved_as_the_nearest_one(tree, mtime):
    info = Stat((tree / "good").lstat(), st_mtime_ns=mtime)
    directory = os.open(tree, os.O_RDONLY)
    try:
        entry = Describer().entry(b"/good", b"good", directory, info, EntryType.FILE)
    finally:
        os.close(directory)
    assert entry.mtime_ns == bounded_time(mtime)
    assert -(1 << 63) <= entry.mtime_ns < 1 << 63
    key = trusted_key(key_of(b"/good", info), time.time_ns() + 10**10)
    assert all(-(1 << 63) <= value < 1 << 64 for value in key[1:])
    assert key != key_of(b"/good", info), "a bounded time must not match the next lstat"


def test_times_of_the_year_3_million_do_not_stop_a_backup(machine, tree):
    try:
        os.utime(tree / "good", ns=(FAR_FUTURE, FAR_FUTURE))
    except OverflowError:
        pytest.skip("this Python cannot set such a time")
    if (tree / "good").stat().st_mtime_ns < 1 << 63:
        pytest.skip("this file system cannot hold such a time")
    assert machine.back_up(tree).errors == 0
    assert machine.opened().content(tree / "good") == b"good"


def test_thousands_of_long_link_targets_do_not_outgrow_a_segment(machine, tree):
    for number in range(2500):
        os.symlink(f"{number:04}" + "x" * 4000, tree / f"link{number}")
    assert machine.back_up(tree).errors == 0
    opened = machine.opened()
    assert max(ref.length for ref in opened.root.segments) < 2 * manifests.MOST_FURTHER_BYTES
    opened.assert_equals(tree)


def test_large_attributes_do_not_outgrow_a_segment(machine, tree, monkeypatch):
    # Whether a file system takes large attributes is its own affair; here every file has 64 KiB of them.
    monkeypatch.setattr(Describer, "_attributes", lambda *_: [(b"user.large", bytes(64 * 1024))])
    for number in range(200):
        (tree / f"f{number}").write_bytes(b"x")
    assert machine.back_up(tree).errors == 0
    assert max(ref.length for ref in machine.opened().root.segments) < 2 * manifests.MOST_FURTHER_BYTES


def test_what_entries_hold_moves_no_segment_end_while_it_is_little(machine, tree):
    for number in range(1500):
        os.symlink("a", tree / f"link{number}")
    machine.back_up(tree)
    before = [ref.first_path for ref in machine.opened().root.segments]
    for number in range(1500):
        (tree / f"link{number}").unlink()
        os.symlink("b" * 100, tree / f"link{number}")
    machine.back_up(tree)
    assert [ref.first_path for ref in machine.opened().root.segments] == before


def make_long_paths(tree: Path, files: int) -> Path:
    deep = tree / "deep" / ("d" * 250) / ("e" * 250) / ("f" * 250) / ("g" * 250)
    deep.mkdir(parents=True)
    for number in range(files):
        (deep / f"{number:05}").write_bytes(b"")
    return deep


def test_long_paths_that_would_fill_the_root_are_named_and_the_rest_is_saved(machine, tree, monkeypatch):
    monkeypatch.setattr(segment_queue, "ROOM_IN_ROOT", 6_000)
    deep = make_long_paths(tree, 2000)
    (tree / "zz-after").write_bytes(b"after")
    result = machine.back_up(tree)
    reasons = {reason for _, reason in machine.progress.errors}
    assert reasons == {saving.TOO_MANY_LONG_PATHS}
    assert 0 < result.errors < 2000
    opened = machine.opened()
    assert opened.content(tree / "zz-after") == b"after"
    assert len(opened.paths()) + result.errors == len({os.fsencode(path) for path in tree.rglob("*")}) + len(tree.parts)

    # The next backup builds on this one, and is just as crowded.
    time.sleep(TICK)
    (tree / "zz-after").write_bytes(b"again")
    for number in range(2000, 2500):
        (deep / f"{number:05}").write_bytes(b"")
    assert machine.back_up(tree).errors == result.errors + 500
    assert machine.opened().content(tree / "zz-after") == b"again"


def test_long_paths_of_an_earlier_snapshot_do_not_crowd_the_new_ones_out(machine, tree, monkeypatch):
    """Segments that are used again count as much as new ones."""
    make_long_paths(tree, 1000)
    assert machine.back_up(tree).errors == 0
    before = len(machine.snapshot().root)
    monkeypatch.setattr(segment_queue, "ROOM_IN_ROOT", before // 2)
    assert machine.back_up(tree).errors > 0
    assert len(machine.snapshot().root) < before


def test_root_that_outgrows_its_bound_is_refused_in_words(machine, tree, monkeypatch):
    from agents.engine import sealing

    monkeypatch.setattr(sealing, "MAX_ROOT", 300)
    with pytest.raises(Refused, match="too long for one snapshot"):
        machine.back_up(tree)


def test_paths_deeper_than_the_bound_are_named_and_the_rest_is_saved(machine, tree):
    descriptor = os.open(tree, os.O_RDONLY)
    for _ in range(300):
        os.mkdir(b"d" * 255, dir_fd=descriptor)
        below = os.open(b"d" * 255, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
    try:
        machine.back_up(tree)
        assert [reason for _, reason in machine.progress.errors] == ["its contents lie too deep to be saved"]
        assert machine.opened().content(tree / "good") == b"good"
    finally:
        os.system(f"rm -rf {tree / ('d' * 255)}")  # noqa: S605 - shutil.rmtree recurses


def test_file_with_more_holes_than_anybody_can_wait_for_is_named_at_once(machine, tree, monkeypatch):
    from agents.engine import large_files

    monkeypatch.setattr(large_files, "MOST_HOLE_BYTES", 64 * MIB)
    with open(tree / "endless", "wb") as file:
        file.truncate(65 * MIB)
    with open(tree / "sparse", "wb") as file:
        file.truncate(63 * MIB)
    machine.back_up(tree)
    assert machine.progress.errors == [
        (os.fsencode(tree / "endless"), "it was not saved: its holes are too large to wait for")
    ]
    opened = machine.opened()
    assert os.fsencode(tree / "endless") not in opened.paths()
    assert opened.entry(tree / "sparse").size == 63 * MIB


def test_files_that_hold_more_or_less_than_their_size_says_are_saved_whole(machine):
    """Those of /proc say 0 bytes, those of /sys 4,096."""
    version = Path("/proc/sys/kernel/ostype")
    result = machine.back_up("/proc/version", version)
    assert result.errors == 0
    opened = machine.opened()
    assert opened.content("/proc/version") == Path("/proc/version").read_bytes()
    assert opened.entry("/proc/version").size > 1


def test_file_that_holds_far_more_than_its_size_says_is_named(machine, tree, monkeypatch):
    monkeypatch.setattr(saving, "read_to_end", lambda descriptor, limit: bytes(limit))
    result = machine.back_up("/proc/version")
    assert result.errors == 1
    assert "only its first 262,143 bytes" in machine.progress.errors[0][1]
    assert machine.opened().entry("/proc/version").size == 262_143


@pytest.mark.parametrize("words", [{"exclude": ["*.\udcff"]}, {"tags": ["gr\udcfcn"]}])
def test_words_that_are_no_text_do_not_stop_a_backup(machine, tree, words):
    machine.back_up(tree, **words)
    root = machine.opened().root
    assert any("\\udc" in word for word in [*root.exclusions, *root.tags])


def test_large_file_that_breaks_off_in_the_middle_is_read_again_next_time(machine, tree, monkeypatch):
    """Parts that were told cannot be taken back: without a note of it, the next backup would think the file saved."""
    from agents.engine import large_files
    from protocol.stored import manifests as stored

    for module in (large_files, stored):
        monkeypatch.setattr(module, "MAX_EXTENTS", 4)
    data = os.urandom(MIB * 6)
    (tree / "large").write_bytes(data)
    time.sleep(TICK)
    fill = RangeReader.fill

    def breaks_off(self, buffer):
        if self.position >= 5 * MIB:
            raise OSError(5, "Input/output error")
        return fill(self, buffer[: 64 * 1024])

    with monkeypatch.context() as broken:
        broken.setattr(RangeReader, "fill", breaks_off)
        result = machine.back_up(tree, chunker="fastcdc-64k")
    assert machine.progress.errors == [(os.fsencode(tree / "large"), "input/output error")]
    parts = machine.opened().entries[os.fsencode(tree / "large")]
    assert parts
    assert not parts[-1][0].last
    assert result.files == 1

    result = machine.back_up(tree, chunker="fastcdc-64k")
    assert (result.errors, result.bytes_read) == (0, len(data))
    machine.opened().assert_equals(tree)
    assert machine.back_up(tree, chunker="fastcdc-64k").bytes_read == 0
