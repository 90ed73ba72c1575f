"""One rotten object, or one sector, costs what lies on it, and never the whole of a store."""

from __future__ import annotations

import errno
import os
import shutil

import pytest

from tests.rebuild.stage import Ruins, flip
from tests.rebuild.test_rebuild_catalog import append

pytestmark = pytest.mark.django_db(transaction=True)


def event(ruins: Ruins, snapshot: str, number: int):
    return next(ruins.store.rglob(f"lifecycle/{snapshot}/{number}.lifecycle"))


@pytest.mark.defence
@pytest.mark.parametrize("harm", ["damaged", "gone", "stood in for"])
def test_lifecycle_record_that_cannot_be_read_hides_no_snapshot(ruins: Ruins, tmp_path, harm: str):
    snapshot = ruins.ids["alpha", 1]
    append(ruins, snapshot, 4, {"case": "A-17"})
    append(ruins, snapshot, 5, {"case": "A-17"})
    if harm == "gone":
        event(ruins, snapshot, 2).unlink()
    elif harm == "damaged":
        flip(event(ruins, snapshot, 2), 1)
    else:
        first = event(ruins, snapshot, 1)
        shutil.copy(first, first.with_name("1.healed-1.lifecycle"))
        flip(first, 1)
    listed = ruins.with_kit("snapshots")
    assert listed.code == 0, listed
    assert {record["state"] for record in listed.records[:-1]} == {"stored"}
    said = ruins.with_kit("restore", snapshot, "--target", tmp_path / "out")
    assert said.code == 0, said
    assert ruins.restored(tmp_path / "out", "alpha") == ruins.was["alpha", 1]


@pytest.mark.defence
def test_expiry_whose_sequel_cannot_be_read_is_not_told(ruins: Ruins):
    snapshot = ruins.ids["alpha", 1]
    append(ruins, snapshot, 2, {"because": "the rule keeps one"})
    listed = ruins.with_kit("snapshots")
    assert [record["state"] for record in listed.records[:-1]] == ["stored", "expired"]
    append(ruins, snapshot, 3, {})
    flip(event(ruins, snapshot, 3), 1)
    listed = ruins.with_kit("snapshots")
    assert [record["state"] for record in listed.records[:-1]] == ["stored", "stored"]


class BadSector:
    """A file of which one sector cannot be read."""

    def __init__(self, inner, at: int) -> None:
        self._inner, self._at = inner, at

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._inner.close()

    def seek(self, offset: int) -> int:
        return self._inner.seek(offset)

    def read(self, length: int = -1) -> bytes:
        start = self._inner.tell()
        data = self._inner.read(length)
        if start <= self._at < start + len(data):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return data


@pytest.mark.defence
@pytest.mark.parametrize("where", ["a record", "the index", "the header"])
def test_sector_that_cannot_be_read_costs_what_lies_on_it(ruins: Ruins, tmp_path, monkeypatch, where: str):
    packs = sorted(ruins.store.rglob("*.pack"), key=lambda path: path.stat().st_size)
    size = packs[-1].stat().st_size
    sector = {"a record": size // 2, "the index": size - 10, "the header": 3}[where]
    inode = packs[-1].stat().st_ino
    real = os.fdopen

    def opened(descriptor, *arguments, **more):
        file = real(descriptor, *arguments, **more)
        return BadSector(file, sector) if os.fstat(descriptor).st_ino == inode else file

    monkeypatch.setattr("agents.from_target.directory.os.fdopen", opened)
    said = {name: ruins.with_kit("restore", "latest", "--target", tmp_path / name, machine=name)
            for name in ("alpha", "beta")}  # fmt: skip
    codes = {name: each.code for name, each in said.items()}
    assert set(codes.values()) <= {0, 20}, said
    for name, number in (("alpha", 2), ("beta", 1)):
        came, was = ruins.restored(tmp_path / name, name), ruins.was[name, number]
        whole = {path for path, facts in came.items() if len(facts) > 5}
        assert whole, "what does not lie on it came back"
        assert all(was[path] == came[path] for path in whole)
    if where == "the index":
        assert set(codes.values()) == {0}
