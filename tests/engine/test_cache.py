"""The cache: staged rows become valid in one step, damage is noticed, nothing of it is trusted blindly."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest
from blake3 import blake3

from agents.engine.cache import Binding, Bundle, Cache, CachedSegment, CacheFault, Layout
from agents.engine.describing import UNTRUSTED, trusted_key
from agents.engine.manifests import EncodedSegment, SegmentDraft, SegmentWriter
from agents.engine.slots import Slot
from protocol.stored.manifests import Entry, EntryType

BINDING = Binding(b"v" * 16, 1, b"m" * 16)


def encoded(name: bytes) -> EncodedSegment:
    drafts: list[SegmentDraft] = []
    writer = SegmentWriter(bytes(32), drafts.append)
    slot = Slot.known(blake3(name).digest(), blake3(name + b"h").digest(), bundle=True)
    entry = Entry(b"/" + name, EntryType.FILE, 0o644, 0, 0, "root", "root", 3, 1, [], b"\1" * 32)
    writer.add(entry, [(slot, 0, 3)], (b"/" + name, 1, 2, 3, 4, 5, 6, 7))
    writer.end()
    return drafts[0].encode()


def stage(cache: Cache, name: bytes) -> CachedSegment:
    segment = encoded(name)
    slot = Slot.known(blake3(segment.plain).digest(), b"\2" * 32)
    return cache.stage(segment, segment.ref(slot, segment.block(slot.id)))


def layout(statement: bytes, *segments: CachedSegment) -> Layout:
    rows = [(segment.row, segment.digest) for segment in segments]
    return Layout(rows, {b"b" * 32: Bundle(10, 1)}, 7, statement)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.sqlite"


def commit(cache: Cache, statement: bytes, *names: bytes) -> list[CachedSegment]:
    segments = [stage(cache, name) for name in names]
    cache.stage_layout(layout(statement, *segments))
    assert cache.switch(statement)
    return segments


def test_switched_layout_is_read_back_whole(path):
    cache = Cache(path, BINDING)
    commit(cache, b"1" * 32, b"a", b"b")
    cache.close()
    cache = Cache(path, BINDING)
    found = cache.layout()
    assert (found.generation, found.bundles) == (7, {b"b" * 32: Bundle(10, 1)})
    first, second = cache.segments(found)
    assert cache.keys(first) == [(b"/a", 1, 2, 3, 4, 5, 6, 7)]
    assert cache.content(second).entries[0].path == b"/b"
    assert cache.chunk_ids(first) == [blake3(b"a").digest()]
    assert cache.notes == []
    cache.close()


def test_staged_rows_are_invisible_until_their_statement_is_acknowledged(path):
    cache = Cache(path, BINDING)
    old = commit(cache, b"1" * 32, b"a")
    cache.stage_layout(layout(b"2" * 32, stage(cache, b"b")))
    assert cache.layout().rows == [(old[0].row, old[0].digest)]
    assert not cache.switch(b"3" * 32)
    cache.forget_staged()
    assert not cache.switch(b"2" * 32)
    assert cache.layout().rows == [(old[0].row, old[0].digest)]
    cache.close()


def test_switch_removes_what_the_new_snapshot_does_not_use(path):
    cache = Cache(path, BINDING)
    old = commit(cache, b"1" * 32, b"a", b"b")
    new = stage(cache, b"c")
    cache.stage_layout(layout(b"2" * 32, old[1], new))
    assert cache.switch(b"2" * 32)
    assert len(cache.segments(cache.layout())) == 2
    with pytest.raises(CacheFault):
        cache.keys(old[0])
    cache.close()


def test_deleted_read_capabilities_are_overwritten_on_disk(path):
    cache = Cache(path, BINDING)
    segment = encoded(b"a")
    slot = Slot.known(b"\3" * 32, os.urandom(32))
    row = cache.stage(segment, segment.ref(slot, segment.block(slot.id)))
    cache.stage_layout(layout(b"1" * 32, row))
    cache.switch(b"1" * 32)
    cache.close()
    assert slot.h in path.read_bytes()
    cache = Cache(path, BINDING)
    commit(cache, b"2" * 32, b"b")
    cache.close()
    assert slot.h not in path.read_bytes()
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.defence
@pytest.mark.parametrize("column", ["plain", "keys"])
def test_body_that_differs_from_its_head_is_damage(path, column):
    """A row whose content is sound in itself, and another segment's: only the digest in its head can tell."""
    cache = Cache(path, BINDING)
    first, _ = commit(cache, b"1" * 32, b"a", b"b")
    cache.close()
    with sqlite3.connect(path) as database:
        (other,) = database.execute(f"SELECT {column} FROM segment ORDER BY id DESC LIMIT 1").fetchone()  # noqa: S608
        database.execute(f"UPDATE segment SET {column} = ?", (other,))  # noqa: S608 - two fixed names
    database.close()
    cache = Cache(path, BINDING)
    with pytest.raises(CacheFault):
        cache.content(first) if column == "plain" else cache.keys(first)
    cache.close()


@pytest.mark.parametrize(
    "other", [Binding(b"w" * 16, 1, b"m" * 16), Binding(b"v" * 16, 2, b"m" * 16), Binding(b"v" * 16, 1, b"n" * 16)]
)
def test_cache_of_another_vault_epoch_or_machine_is_thrown_away(path, other):
    cache = Cache(path, BINDING)
    commit(cache, b"1" * 32, b"a")
    cache.close()
    cache = Cache(path, other)
    assert cache.layout() is None
    assert "another vault" in cache.notes[0]
    cache.close()


def test_link_in_the_place_of_the_cache_is_not_followed(path, tmp_path):
    target = tmp_path / "precious"
    target.write_bytes(b"precious")
    path.symlink_to(target)
    cache = Cache(path, BINDING)
    commit(cache, b"1" * 32, b"a")
    cache.close()
    assert target.read_bytes() == b"precious"
    assert not path.is_symlink()


def test_directory_that_cannot_be_written_costs_only_the_cache(tmp_path):
    cache = Cache(tmp_path / "missing" / "cache.sqlite", BINDING)
    assert not cache.is_usable
    stage(cache, b"a")
    assert cache.layout() is None
    assert len(cache.notes) == 2
    cache.close()


@pytest.mark.parametrize(
    ("mtime", "ctime", "trusted"),
    [
        (1_000_000_001, 1_000_000_001, True),
        (10_000_000_001, 1_000_000_001, False),
        (1_000_000_001, 10_000_000_001, False),
        (9_990_000_001, 1_000_000_001, False),
        (9_970_000_001, 9_970_000_001, True),
        (9_000_000_000, 9_000_000_000, False),
        (7_000_000_000, 7_000_000_000, True),
    ],
)
def test_times_within_a_tick_of_the_scan_are_not_trusted(mtime, ctime, trusted):
    key = (b"/a", 1, 2, 3, 4, mtime, ctime, 5)
    assert (trusted_key(key, 10_000_000_000)[6] != UNTRUSTED) is trusted
