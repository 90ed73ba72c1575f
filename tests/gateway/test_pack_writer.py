"""One pack's writer by itself: what it takes, and that it never goes on after a fault."""

from __future__ import annotations

from uuid import uuid4

import pytest

from backup_platform.gateway.errors import PackDead
from backup_platform.gateway.pack_writer import PackWriter, Record, matches
from tests.gateway.agent_peer import BLOCK, block_of, digest
from tests.gateway.faulty_files import EIO, BreakableFileLayer

CHUNK = 1


def record(payload: bytes, kind: int = CHUNK, *, name: bytes = b"", claimed: bytes = b"") -> Record:
    return Record(kind, name or digest(payload), claimed or digest(payload), payload)


def append_and_sync(writer: PackWriter) -> None:
    writer.append([record(b"second")])
    writer.sync()


@pytest.mark.defence
@pytest.mark.parametrize("call", ["write", "fdatasync", "fsync_directory"])
def test_after_a_fault_the_file_is_never_touched_again(tmp_path, call):
    """The kernel may call pages clean that never reached the disk: a second fsync would say that all is well."""
    files = BreakableFileLayer()
    writer = PackWriter(files, uuid4(), uuid4(), tmp_path / "pack.open")
    writer.append([record(b"first")])
    files.broken[call] = EIO
    with pytest.raises(PackDead):
        append_and_sync(writer)
    files.broken.clear()
    for again in (writer.sync, writer.seal, lambda: writer.append([record(b"third")])):
        with pytest.raises(PackDead):
            again()
    assert files.touched_after_fault == []
    writer.close()


@pytest.mark.defence
def test_bytes_that_are_not_their_digests_are_not_taken():
    assert matches(record(b"good"))
    assert not matches(record(b"bad", claimed=digest(b"good")))


@pytest.mark.defence
def test_reference_block_has_the_name_of_its_content():
    block = block_of([b"a chunk"])
    assert matches(record(block, BLOCK))
    assert not matches(record(b"rubbish", BLOCK, name=digest(block)))
    assert matches(record(b"sealed", CHUNK, name=b"k" * 32)), "a chunk's name is keyed: it cannot be checked here"
