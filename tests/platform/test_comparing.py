"""The demo's comparison sees every kind of difference: one that sees none would prove nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from backup_platform.embedded.demonstration.comparing import MOST_DIFFERENCES, compare_trees


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    """A tree with one of each, and a faithful copy."""
    original = tmp_path / "original"
    (original / "inner").mkdir(parents=True)
    (original / "file").write_bytes(b"content")
    os.link(original / "file", original / "inner" / "same")
    (original / "link").symlink_to("file")
    (original / "empty").touch()
    os.utime(original, ns=(1, 1_234_567_890_123_456_789))
    copy = tmp_path / "copy"
    shutil.copytree(original, copy, symlinks=True)
    (copy / "inner" / "same").unlink()
    os.link(copy / "file", copy / "inner" / "same")
    for path in [Path(), *(path.relative_to(original) for path in original.rglob("*"))]:
        shutil.copystat(original / path, copy / path, follow_symlinks=False)
    return original, copy


def compare(trees: tuple[Path, Path]):
    return compare_trees(os.fsencode(trees[0]), os.fsencode(trees[1]))


def test_faithful_copy_is_equal(trees: tuple[Path, Path]) -> None:
    result = compare(trees)
    assert result.equal, result.examples
    assert (result.files, result.directories, result.others, result.size) == (3, 2, 1, 14)


def keeping_times(path: Path, change: Callable[[], object]) -> None:
    facts = path.stat()
    change()
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "content differs": lambda c: keeping_times(c / "file", lambda: (c / "file").write_bytes(b"CONTENT")),
    "mode": lambda c: (c / "file").chmod(0o600),
    "modification time": lambda c: os.utime(c / "empty", ns=(1, 1)),
    "missing": lambda c: keeping_times(c, (c / "empty").unlink),
    "not in the original": lambda c: keeping_times(c, (c / "extra").touch),
    "points elsewhere": lambda c: keeping_times(c, lambda: ((c / "link").unlink(), (c / "link").symlink_to("x"))),
    "hard link": lambda c: keeping_times(
        c / "inner", lambda: (shutil.copy2(c / "file", c / "new"), (c / "new").replace(c / "inner" / "same"))
    ),
    "extended attributes": lambda c: os.setxattr(c / "file", "user.k", b"v"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_difference_is_seen_and_named(trees: tuple[Path, Path], what: str) -> None:
    CHANGES[what](trees[1])
    result = compare(trees)
    assert not result.equal
    assert any(what in example for example in result.examples), result.examples


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_other_owner_is_seen(trees: tuple[Path, Path]) -> None:
    os.chown(trees[1] / "empty", 1234, 1234)
    assert any("owner" in example for example in compare(trees).examples)


def test_nothing_compared_is_not_equal(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert not compare((tmp_path / "a", tmp_path / "a")).equal


def test_examples_are_bounded_and_all_differences_counted(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / "original" / str(number)).mkdir(parents=True)
    (tmp_path / "copy").mkdir()
    result = compare((tmp_path / "original", tmp_path / "copy"))
    assert len(result.examples) == MOST_DIFFERENCES
    assert result.differences >= 50


def test_fifos_and_sockets_are_counted_and_not_asked_for(trees: tuple[Path, Path]) -> None:
    keeping_times(trees[0], lambda: os.mkfifo(trees[0] / "fifo"))
    result = compare(trees)
    assert result.equal, result.examples
    assert result.specials == 1


def test_what_cannot_be_read_is_a_difference_and_no_fault(trees: tuple[Path, Path], monkeypatch) -> None:
    scandir = os.scandir

    def refusing(path: bytes):
        if path.endswith(b"inner"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    result = compare(trees)
    assert not result.equal
    assert any("cannot be listed (Permission denied)" in example for example in result.examples)
