"""Manifests that mean to fill the memory, to be miscounted, or to pass one file off as another."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest
from blake3 import blake3
from msgspec.structs import replace

from agents.engine import ownership, restoring
from agents.engine.chunk_supply import ChunkSupply
from agents.engine.ownership import Owners
from agents.engine.paths import MAX_PATH
from protocol.stored.manifests import ChunkRef, EntryType
from tests.restore.forge import Shelf, directory, entry, file, link, restore, restore_entries, special

MIB = 1024 * 1024
GOOD = file(b"/zz-good", b"good")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


def test_link_that_could_not_be_made_is_an_error_and_not_counted_as_restored(target: Path):
    target.mkdir()
    (target / "l").write_bytes(b"in the way")
    done = restore_entries(target, [link(b"/l", b"a"), link(b"/m", b"b")], overwrite=True)
    assert (done.result.symlinks, done.result.errors) == (2, 0)
    (target / "l").unlink()
    (target / "l").mkdir()
    done = restore_entries(target, [link(b"/l", b"a"), link(b"/m", b"b")], overwrite=True)
    assert (done.result.symlinks, done.result.errors, done.result.damaged) == (1, 1, 0)
    assert b"/l" in done.errors


def test_link_under_a_link_is_hostile(target: Path):
    done = restore_entries(target, [link(b"/l", b"/etc"), link(b"/l/m", b"b"), GOOD])
    assert sorted(done.tree()) == ["l", "zz-good"]
    assert (done.result.symlinks, done.result.damaged) == (1, 1)


def test_link_whose_owner_cannot_be_set_is_made_all_the_same(target: Path):
    odd = link(b"/l", b"a")
    odd.entry = replace(odd.entry, uid=1 << 40)
    done = restore_entries(target, [odd])
    assert os.readlink(target / "l") == "a"
    assert (done.result.symlinks, done.result.errors, done.result.warnings) == (1, 0, int(os.geteuid() == 0))


def test_own_link_in_the_way_of_an_overwriting_restore_is_no_damage(target: Path, tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    target.mkdir()
    (target / "lib").symlink_to(tmp_path / "elsewhere")
    done = restore_entries(target, [directory(b"/lib"), file(b"/lib/f", b"x"), GOOD], overwrite=True)
    assert (done.result.errors, done.result.damaged) == (2, 0)
    assert not list((tmp_path / "elsewhere").iterdir())
    assert (target / "zz-good").read_bytes() == b"good"


@pytest.mark.parametrize(
    "draft",
    [
        directory(b"/d", part=1),
        directory(b"/d", last=False),
        link(b"/d", b"x", last=False),
        link(b"/d", b"x", part=1),
    ],
)
def test_only_files_come_in_parts(target: Path, draft):
    done = restore_entries(target, [draft, GOOD])
    assert (list(done.tree()), done.result.damaged) == (["zz-good"], 1)


def test_file_whose_second_part_is_a_directory_is_given_up(target: Path):
    drafts = [file(b"/f", b"one", last=False), directory(b"/f", part=1, last=False), file(b"/f", b"two", part=2), GOOD]
    done = restore_entries(target, drafts)
    assert list(done.tree()) == ["zz-good"]
    assert done.result.damaged >= 1


def test_file_in_parts_is_checked_as_a_whole(target: Path):
    """The parts of an honest agent tell the hash with the last one; every chunk may be right and the order wrong."""
    whole = {"size": 6, "digest": blake3(b"onetwo").digest()}
    swapped = [file(b"/f", b"two", last=False, digest=b"", size=6), file(b"/f", b"one", part=1, **whole), GOOD]
    done = restore_entries(target, swapped)
    assert (list(done.tree()), done.result.damaged) == (["zz-good"], 1)


def test_file_in_parts_that_grew_while_it_was_saved_is_restored(target: Path):
    first = file(b"/f", b"first part", last=False, digest=b"", size=3)
    whole = {"size": 14, "digest": blake3(b"first partlast").digest()}
    done = restore_entries(target, [first, file(b"/f", b"last", part=1, **whole)])
    assert done.result.errors == 0, done.errors
    assert (target / "f").read_bytes() == b"first partlast"


def test_hard_link_without_a_hash_is_a_file_of_its_own(target: Path):
    """Files with very large holes have no hash; their group's number alone proves nothing."""
    drafts = [file(b"/a", b"one", hardlink=7, digest=b""), file(b"/b", b"two", hardlink=7, digest=b"")]
    done = restore_entries(target, drafts)
    assert done.result.errors == 0
    assert ((target / "a").read_bytes(), (target / "b").read_bytes()) == (b"one", b"two")


def test_hard_link_gives_no_file_the_mode_of_another(target: Path):
    drafts = [file(b"/a", b"", hardlink=7, mode=0o666), file(b"/b", b"", hardlink=7, mode=0o600)]
    restore_entries(target, drafts)
    assert (target / "b").stat().st_mode & 0o777 == 0o600


def test_remembered_hard_links_are_bounded_by_their_paths(target: Path, monkeypatch):
    monkeypatch.setattr(restoring, "LINK_PATHS", 2)
    drafts = [file(f"/{name}".encode(), b"x", hardlink=group) for group, name in enumerate("abcdef", 1)]
    drafts += [file(f"/x{group}".encode(), b"x", hardlink=group) for group in (1, 6)]
    done = restore_entries(target, drafts)
    assert done.result.errors == 0
    assert (target / "x1").samefile(target / "a")
    assert not (target / "x6").samefile(target / "f")
    assert (target / "x6").read_bytes() == b"x"


def test_entries_of_megabytes_do_not_gather_in_memory(target: Path, monkeypatch):
    """20,000 entries may be planned ahead; with megabytes of attributes each that would be tens of gigabytes."""
    monkeypatch.setattr(restoring, "PLANNED_BYTES", 4 * MIB)
    shelf = Shelf()
    attributes = [(b"user.x", bytes(3 * MIB))]
    shelf.snapshot(*[[_heavy(b"/d%03d" % number, attributes)] for number in range(40)])
    tracemalloc.start()
    done = restore(shelf, target)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert done.result.skipped == 40
    assert peak < 40 * MIB


def _heavy(path: bytes, attributes):
    draft = special(path, EntryType.FIFO)
    draft.entry = entry(path, EntryType.FIFO, mode=0o644, xattrs=attributes)
    return draft


def test_names_of_megabytes_are_not_remembered_as_users(target: Path):
    ownership._known_user.cache_clear()
    drafts = [file(b"/a", b"x", user="r" * MIB, group="g" * MIB), file(b"/b", b"x", user="\0root")]
    done = restore_entries(target, drafts)
    assert done.result.errors == 0
    Owners(root=True).of(drafts[0].entry)
    assert ownership._known_user.cache_info().currsize <= 1


def test_long_paths_are_refused_and_little_of_them_is_kept(target: Path):
    done = restore_entries(target, [file(b"/" + b"a/" * MAX_PATH, b"x"), file(b"/" + b"b" * MAX_PATH, b"x"), GOOD])
    assert list(done.tree()) == ["zz-good"]
    assert done.result.damaged == 2
    assert all(len(fault.path) <= restoring.NAMED_PATH for fault in done.result.faults)


def test_chunk_opened_under_one_hash_does_not_pass_under_another(tmp_path: Path):
    from concurrent.futures import Future, ThreadPoolExecutor

    opened = []

    def fetch(block, ids):
        futures = {each: Future() for each in ids}
        for future in futures.values():
            future.set_result(b"sealed")
        return futures

    def open_chunk(sealed, chunk_id, h):
        opened.append(h)
        return b"content"

    with ThreadPoolExecutor(1) as pool:
        supply = ChunkSupply(fetch, open_chunk, pool)
        one, other = ChunkRef(b"i" * 32, b"1" * 32), ChunkRef(b"i" * 32, b"2" * 32)
        for ref in (one, other):
            supply.expect(b"block", ref)
        supply.take(one)
        supply.take(other)
    assert sorted(opened) == [b"1" * 32, b"2" * 32]


def test_attributes_of_a_file_that_nobody_may_write_are_restored_for_its_owner(target: Path, tmp_path: Path):
    """To set one needs the right to write, which the file's mode may take away; root is not asked."""
    probe = tmp_path / "probe"
    probe.write_bytes(b"")
    try:
        os.setxattr(probe, "user.x", b"1")
    except OSError:
        pytest.skip("no attributes on this file system")
    order: list[str] = []
    descriptor = os.open(probe, os.O_RDWR)
    given = entry(b"/f", EntryType.FILE, mode=0o444, xattrs=[(b"user.x", b"2")])
    with pytest.MonkeyPatch.context() as patch:
        for name in ("setxattr", "fchmod", "fchown", "utime"):
            call = getattr(os, name)
            patch.setattr(os, name, lambda *a, _n=name, _c=call, **k: (order.append(_n), _c(*a, **k))[1])
        assert list(ownership.set_attributes(descriptor, given, Owners(), keep_setuid=False)) == []
    os.close(descriptor)
    assert order.index("setxattr") < order.index("fchmod") < order.index("utime")
    assert os.getxattr(probe, "user.x") == b"2"
