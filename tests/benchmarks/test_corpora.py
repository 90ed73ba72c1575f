"""Corpora and deltas: the same every time, and a delta leaves nothing behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks import corpora, deltas

SCALE = 0.002


@pytest.fixture(autouse=True)
def few_installed_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is installed here is walked in a second, not in ten."""
    monkeypatch.setattr(
        corpora, "code_sources", lambda: [Path(os.__file__).parent / "encodings", Path(pytest.__file__).parent.parent]
    )
    monkeypatch.setattr(corpora, "CODE_FILES", 8000)


@pytest.mark.parametrize("name", list(corpora.BUILDERS))
def test_corpus_is_the_same_in_every_place(name: str, tmp_path: Path) -> None:
    first = corpora.prepare(name, tmp_path / "a", SCALE)
    second = corpora.prepare(name, tmp_path / "b", SCALE)
    assert first.files > 0
    assert (first.digest, first.files, first.bytes) == (second.digest, second.files, second.bytes)


def test_shapes_are_as_documented(tmp_path: Path) -> None:
    media, tiny, image = (corpora.prepare(name, tmp_path, SCALE) for name in ("media", "tiny", "image"))
    assert media.files == 24
    assert tiny.files == 200
    sizes = [(tiny.path / name).stat().st_size for name in corpora.names_below(tiny.path)]
    assert max(sizes) <= 4096
    assert 1500 < sum(sizes) / len(sizes) < 2600
    assert image.files == 1
    assert image.bytes % 4096 == 0


@pytest.mark.parametrize("name", list(corpora.BUILDERS))
def test_delta_is_the_same_every_time_and_can_be_undone(name: str, tmp_path: Path) -> None:
    corpus = corpora.prepare(name, tmp_path, SCALE)
    inodes = {file: (corpus.path / file).stat().st_ino for file in corpora.names_below(corpus.path)}
    deltas.apply(corpus.path)
    changed = corpora.describe(corpus.path)
    kept = [file for file, inode in inodes.items() if file_inode(corpus.path / file) == inode]
    assert changed[2] != corpus.digest
    assert len(kept) >= len(inodes) - max(
        1, len(inodes) // 200
    )  # changed in place: a cache must recognise what did not change
    deltas.undo(corpus.path)
    assert corpora.describe(corpus.path)[2] == corpus.digest
    deltas.apply(corpus.path)
    assert corpora.describe(corpus.path) == changed


def file_inode(file: Path) -> int:
    return file.stat().st_ino if file.exists() else 0


def test_image_delta_rewrites_one_per_cent_and_moves_the_rest(tmp_path: Path) -> None:
    corpus = corpora.prepare("image", tmp_path, 0.01)
    before = (corpus.path / "disk.img").read_bytes()
    deltas.apply(corpus.path)
    after = (corpus.path / "disk.img").read_bytes()
    more, cut = len(after) - len(before), int(len(before) // 4096 * 0.3) * 4096 + 1234
    assert more > 0
    unmoved = after[:cut] + after[cut + more :]
    blocks = range(0, len(before), 4096)
    different = sum(before[at : at + 4096] != unmoved[at : at + 4096] for at in blocks)
    assert different == len(blocks) // 100


def test_delta_that_a_killed_run_left_is_undone(tmp_path: Path) -> None:
    corpus = corpora.prepare("tiny", tmp_path, SCALE)
    deltas.apply(corpus.path)
    assert corpora.prepare("tiny", tmp_path, SCALE).digest == corpus.digest


def test_delta_is_not_applied_twice(tmp_path: Path) -> None:
    corpus = corpora.prepare("tiny", tmp_path, SCALE)
    deltas.apply(corpus.path)
    with pytest.raises(FileExistsError):
        deltas.apply(corpus.path)


def test_spoilt_corpus_is_built_again(tmp_path: Path) -> None:
    corpus = corpora.prepare("tiny", tmp_path, SCALE)
    (corpus.path / corpora.names_below(corpus.path)[0]).write_text("spoilt")
    assert corpora.prepare("tiny", tmp_path, SCALE).digest == corpus.digest


def test_each_day_changes_something_else_for_good(tmp_path: Path) -> None:
    corpus = corpora.prepare("tiny", tmp_path, SCALE)
    digests = {corpus.digest}
    for day in range(3):
        deltas.apply(corpus.path, seed=day, keep=False)
        digests.add(corpora.describe(corpus.path)[2])
    assert len(digests) == 4
    assert not corpus.path.with_name("tiny.saved").exists()
