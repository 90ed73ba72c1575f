"""A stream becomes one file of a snapshot, whatever its length, and spoils nothing for the machine's other backups."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from agents.engine.streaming import Stream, reader_of, stream_path
from agents.errors import Refused, Temporary, UsageFault
from tests.engine.machines import Machine
from tests.engine.memory_link import Vault
from tests.engine.test_backing_up import make_tree, settle

MIB = 1 << 20


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path, Vault())


def of(data: bytes, at_end: Callable[[], int] = lambda: 0) -> Stream:
    left = memoryview(data)

    def fill(view: memoryview) -> int:
        nonlocal left
        size = min(len(view), len(left), 70_001)
        view[:size] = left[:size]
        left = left[size:]
        return size or at_end()

    return Stream(b"/db/dump.sql", fill)


@pytest.mark.parametrize("size", [0, 1, 1000, 300_000, 9 * MIB + 1])
def test_stream_is_stored_as_it_was(machine: Machine, size: int):
    data = random.Random(size).randbytes(size)
    result = machine.back_up(stream=of(data))
    opened = machine.opened()
    assert opened.content(b"/db/dump.sql") == data
    assert opened.entry(b"/db/dump.sql").size == size
    assert opened.order == [b"/", b"/db", b"/db/dump.sql"]
    assert opened.entry(b"/db/dump.sql").mode == 0o600
    assert (result.files, result.bytes, result.bytes_read) == (1, size, size)


def test_stream_of_more_chunks_than_an_entry_holds_is_told_in_parts(machine: Machine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("agents.engine.large_files.MAX_EXTENTS", 3)
    data = random.Random(7).randbytes(2 * MIB)
    machine.back_up(stream=of(data), chunker="fastcdc-64k")
    assert machine.opened().content(b"/db/dump.sql") == data
    assert len(machine.opened().entries[b"/db/dump.sql"]) > 2


def test_equal_streams_are_sent_once(machine: Machine):
    data = random.Random(1).randbytes(5 * MIB)
    machine.back_up(stream=of(data))
    assert machine.back_up(stream=of(data)).bytes_sent < 100_000


def test_pipe_is_read_to_its_end(machine: Machine):
    inward, outward = os.pipe()
    data = random.Random(2).randbytes(3 * MIB)

    def write() -> None:
        with open(outward, "wb") as pipe:
            pipe.write(data)

    writer = threading.Thread(target=write)
    writer.start()
    machine.back_up(stream=Stream(b"/x", reader_of(inward)))
    writer.join(10)
    os.close(inward)
    assert machine.opened().content(b"/x") == data


def test_backup_of_files_after_a_stream_still_reads_only_what_changed(machine: Machine, tmp_path: Path):
    tree = make_tree(tmp_path / "tree")
    settle()
    machine.back_up(tree)
    machine.back_up(stream=of(b"x" * 1000))
    again = machine.back_up(tree)
    assert again.bytes_read == 0
    assert again.files_unmodified == again.files
    assert not (machine.home.path / "cache-stream.sqlite").exists()
    machine.opened().assert_equals(tree)


def test_backups_with_caches_of_their_own_do_not_forget_each_other(machine: Machine, tmp_path: Path):
    one, two = make_tree(tmp_path / "one", seed=1), make_tree(tmp_path / "two", seed=2)
    settle()
    for tree, name in ((one, "first"), (two, "second")):
        machine.back_up(tree, cache=name)
    for tree, name in ((one, "first"), (two, "second")):
        assert machine.back_up(tree, cache=name).bytes_read == 0
        machine.opened().assert_equals(tree)


def test_stream_that_fails_at_its_end_publishes_nothing(machine: Machine):
    def fail() -> int:
        raise Refused("the dump failed")

    with pytest.raises(Refused, match="the dump failed"):
        machine.back_up(stream=of(b"x" * 300_000, fail))
    assert machine.id not in machine.vault.snapshots


def test_stream_is_not_read_twice_when_the_server_loses_a_part(machine: Machine):
    machine.connect()
    machine.link.before_commit = lambda number: machine.vault.lose(
        {identity for kind, identity in machine.vault.records if kind == 1}
    )
    with pytest.raises(Temporary, match="lost a part of the stream"):
        machine.back_up(stream=of(random.Random(3).randbytes(MIB)), connect=False)


@pytest.mark.parametrize(
    ("name", "path"), [(b"dump.sql", b"/dump.sql"), (b"/a//b", b"/a/b"), ("ä".encode(), b"/\xc3\xa4")]
)
def test_names_become_paths(name: bytes, path: bytes):
    assert stream_path(name) == path


@pytest.mark.parametrize("name", [b"", b"/", b"a/", b"..", b"a/../b", b"./a", b"x" * 300, b"a\0b"])
def test_names_that_no_file_can_have_are_refused(name: bytes):
    with pytest.raises(UsageFault):
        stream_path(name)
