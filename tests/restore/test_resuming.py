"""A restore that broke off goes on: what is there, whole, is not fetched again, and nothing else is believed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.restore.forge import Restored, Shelf, directory, file, restore

CONTENT = {b"/d/one": b"1" * 5_000, b"/d/two": b"2" * 6_000, b"/three": b"3" * 7_000}


class Counting(Shelf):
    """Remembers how many chunks were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def fetch(self, snapshot, block, ids):
        self.asked += len(ids)
        return super().fetch(snapshot, block, ids)


@pytest.fixture
def shelf() -> Counting:
    made = Counting()
    made.snapshot([directory(b"/d"), *(file(path, content) for path, content in sorted(CONTENT.items()))])
    return made


@pytest.fixture
def target(tmp_path: Path, shelf: Counting) -> Path:
    """Restored once."""
    restore(shelf, tmp_path / "out")
    shelf.asked = 0
    return tmp_path / "out"


def again(shelf: Counting, target: Path) -> Restored:
    done = restore(shelf, target, overwrite=True, resume=True)
    assert {path: (target / os.fsdecode(path[1:])).read_bytes() for path in CONTENT} == CONTENT
    return done


def test_files_that_are_whole_are_not_fetched_again(shelf: Counting, target: Path):
    (target / "d" / "one").unlink()
    done = again(shelf, target)
    assert (done.result.kept, done.result.files, done.result.errors) == (2, 3, 0)
    assert shelf.asked == 2, "the list of files, and the chunk of the one that was missing"


@pytest.mark.defence
def test_a_file_of_the_same_size_with_other_content_is_replaced(shelf: Counting, target: Path):
    (target / "three").write_bytes(b"x" * 7_000)
    assert again(shelf, target).result.kept == 2


def test_a_kept_file_looks_as_it_should(shelf: Counting, target: Path):
    was = (target / "three").stat()
    (target / "three").chmod(0o600)
    os.utime(target / "three", (1, 1))
    again(shelf, target)
    now = (target / "three").stat()
    assert (now.st_mode, now.st_mtime_ns) == (was.st_mode, was.st_mtime_ns)


@pytest.mark.defence
def test_what_somebody_else_has_another_name_of_is_not_touched(shelf: Counting, target: Path, tmp_path: Path):
    outside = tmp_path / "outside"
    outside.write_bytes(CONTENT[b"/three"])
    outside.chmod(0o600)
    (target / "three").unlink()
    os.link(outside, target / "three")
    before = outside.stat()
    assert again(shelf, target).result.kept == 2
    after = outside.stat()
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
    assert after.st_nlink == 1, "the restored file is one of its own"


def test_a_link_out_of_the_target_is_not_followed(shelf: Counting, target: Path, tmp_path: Path):
    outside = tmp_path / "outside"
    outside.write_bytes(CONTENT[b"/three"])
    (target / "three").unlink()
    (target / "three").symlink_to(outside)
    assert again(shelf, target).result.kept == 2
    assert not (target / "three").is_symlink()
