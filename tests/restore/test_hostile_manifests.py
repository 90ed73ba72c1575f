"""Manifests made to do harm: nothing outside the target changes, nothing wrong gets a name, the rest is restored."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from agents.engine.open_directories import HostileEntry, PlacingFault, split_path
from agents.engine.ownership import LotDresser
from agents.engine.placing import Placer, PlacingOptions
from agents.engine.small_files import SmallFiles, begin
from protocol.stored.manifests import ChunkRef, EntryType, Extent
from tests.restore.forge import Draft, directory, entry, file, link, restore_entries, special

GOOD = file(b"/zz-good", b"good")


@pytest.fixture
def outside(tmp_path: Path):
    """A directory beside the target; the test fails if anything in it changes."""
    place = tmp_path / "outside"
    place.mkdir()
    (place / "victim").write_bytes(b"untouched")
    place.chmod(0o711)
    before = place.stat()
    yield place
    after = place.stat()
    assert (after.st_mode, after.st_mtime_ns, after.st_ctime_ns) == (
        before.st_mode,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )
    assert os.listdir(place) == ["victim"]
    assert (place / "victim").read_bytes() == b"untouched"


@pytest.fixture
def target(tmp_path: Path, outside: Path) -> Path:
    return tmp_path / "target"


@pytest.mark.parametrize(
    "path",
    [
        b"/../outside/victim",
        b"/a/../../outside/victim",
        b"/a/./b",
        b"/a//b",
        b"//a",
        b"/a/",
        b"relative",
        b"../outside/victim",
        b"",
        b"/a\0b",
        b"/..",
    ],
)
def test_path_that_is_not_plain_is_refused_and_named(target: Path, path: bytes):
    done = restore_entries(target, sorted([file(path, b"evil"), GOOD], key=lambda d: d.entry.path.replace(b"/", b"\0")))
    assert list(done.tree()) == ["zz-good"]
    assert done.result.damaged == 1
    assert path in done.errors


def test_absolute_path_lands_under_the_target(target: Path, outside: Path):
    done = restore_entries(target, [file(os.fsencode(outside) + b"/victim", b"evil")])
    assert done.result.errors == 0
    assert (target / outside.relative_to("/") / "victim").read_bytes() == b"evil"


def test_file_under_a_link_made_earlier_in_the_stream_is_not_written_through_it(target: Path, outside: Path):
    done = restore_entries(target, [link(b"/d", os.fsencode(outside)), file(b"/d/victim", b"evil"), GOOD])
    assert (target / "d" / "victim").read_bytes() == b"evil"
    assert not (target / "d").is_symlink()
    assert b"/d" in done.errors


@pytest.mark.parametrize("mode", [0o644, 0o4755], ids=["in a lot", "alone"])
@pytest.mark.parametrize("levels", [0, 100])
def test_directory_that_is_swapped_for_a_link_during_the_restore_is_not_followed(
    target: Path, outside: Path, monkeypatch: pytest.MonkeyPatch, levels: int, mode: int
):
    """Just before a file is made in it. With many levels in between, its descriptor is not kept any more."""
    place, place_lot = Placer.file, Placer.small_files

    def swap(path: bytes):
        if path == b"/e/victim":
            (target / "e").rename(target / "moved")
            (target / "e").symlink_to(outside)

    def swapping(placer: Placer, given):
        swap(given.path)
        return place(placer, given)

    def swapping_lot(placer: Placer, lot, *others):
        swap(lot.entries[0].path)
        return place_lot(placer, lot, *others)

    monkeypatch.setattr(Placer, "file", swapping)
    monkeypatch.setattr(Placer, "small_files", swapping_lot)
    below = [directory(b"/e" + b"/d" * depth) for depth in range(levels + 1)]
    done = restore_entries(target, [*below, file(b"/e/victim", b"evil", mode=mode), GOOD])
    assert (target / "e").is_symlink()
    assert (target / "zz-good").read_bytes() == b"good"
    assert b"/e" in done.errors


def test_target_with_a_link_in_it_is_not_followed_even_when_overwriting(target: Path, outside: Path):
    target.mkdir()
    (target / "d").symlink_to(outside)
    done = restore_entries(target, [directory(b"/d"), file(b"/d/victim", b"evil"), GOOD], overwrite=True)
    assert {b"/d", b"/d/victim"} <= set(done.errors)
    assert (target / "d").is_symlink()
    assert (target / "zz-good").read_bytes() == b"good"


def test_overwriting_a_link_replaces_the_link_and_not_what_it_points_to(target: Path, outside: Path):
    target.mkdir()
    (target / "f").symlink_to(outside / "victim")
    done = restore_entries(target, [file(b"/f", b"mine")], overwrite=True)
    assert done.result.errors == 0
    assert (target / "f").read_bytes() == b"mine"
    assert not (target / "f").is_symlink()


def test_same_name_twice_keeps_the_first_and_names_the_second(target: Path):
    done = restore_entries(target, [file(b"/f", b"first"), file(b"/f", b"second"), GOOD])
    assert (target / "f").read_bytes() == b"first"
    assert (done.result.files, done.result.damaged) == (2, 1)


def test_entries_out_of_order_are_refused(target: Path):
    done = restore_entries(target, [file(b"/b", b"b"), file(b"/a", b"a"), file(b"/c", b"c")])
    assert list(done.tree()) == ["b", "c"]
    assert "order" in done.errors[b"/a"]


def test_file_under_a_file_is_refused(target: Path):
    done = restore_entries(target, [file(b"/f", b"file"), file(b"/f/below", b"x"), directory(b"/f/d"), GOOD])
    assert list(done.tree()) == ["f", "zz-good"]
    assert done.result.damaged == 2


def test_fifos_sockets_and_devices_are_named_and_not_made(target: Path):
    kinds = [EntryType.FIFO, EntryType.SOCKET, EntryType.CHARACTER_DEVICE, EntryType.BLOCK_DEVICE]
    done = restore_entries(target, [special(b"/%d" % kind, kind) for kind in kinds])
    assert done.tree() == {}
    assert (done.result.skipped, done.result.errors) == (4, 0)
    assert "device" in done.errors[b"/6"]


def test_setuid_and_setgid_are_left_out_unless_asked(target: Path, tmp_path: Path):
    drafts = [file(b"/s", b"x", mode=0o6755)]
    done = restore_entries(target, drafts)
    assert stat.S_IMODE((target / "s").stat().st_mode) == 0o755
    assert b"/s" in done.errors
    kept = restore_entries(tmp_path / "kept", drafts, keep_setuid=True)
    expected = 0o6755 if os.geteuid() == 0 else 0o755
    assert stat.S_IMODE((kept.target / "s").stat().st_mode) == expected


def test_names_of_255_bytes_are_restored_and_longer_ones_named(target: Path):
    name = b"/" + b"n" * 255
    done = restore_entries(target, [file(name, b"fits"), file(name + b"n", b"too long"), GOOD])
    assert (target / ("n" * 255)).read_bytes() == b"fits"
    assert (done.result.errors, done.result.damaged) == (1, 0)


@pytest.fixture
def deep_target(target: Path):
    """A target that is flattened again: pytest's own cleaning cannot go a thousand levels down."""
    yield target
    subprocess.run(["rm", "-rf", str(target)], check=True, timeout=30)


def test_thousand_levels_are_restored_with_their_modes(deep_target: Path):
    target = deep_target
    drafts = [directory(b"/" + b"/".join([b"d"] * depth), mode=0o750) for depth in range(1, 1001)]
    drafts.append(file(drafts[-1].entry.path + b"/leaf", b"deep"))
    done = restore_entries(target, drafts)
    assert (done.result.errors, done.result.warnings, done.result.directories) == (0, 0, 1000)
    descriptor = os.open(target, os.O_RDONLY)
    for _ in range(1000):
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
        assert stat.S_IMODE(os.fstat(descriptor).st_mode) == 0o750
    leaf = os.open("leaf", os.O_RDONLY, dir_fd=descriptor)
    assert os.read(leaf, 10) == b"deep"
    os.close(leaf)
    os.close(descriptor)


def test_hard_link_group_links_equal_files_and_no_others(target: Path):
    drafts = [
        file(b"/a", b"same", hardlink=7),
        file(b"/b", b"same", hardlink=7),
        file(b"/c", b"other", hardlink=7),
        file(b"/d", b"same"),
    ]
    done = restore_entries(target, drafts)
    assert done.result.files == 4
    assert (target / "a").samefile(target / "b")
    assert (target / "c").read_bytes() == b"other"
    assert not (target / "d").samefile(target / "a")


def test_hard_link_to_something_that_was_swapped_for_a_link_is_refused(target: Path, outside: Path):
    target.mkdir()
    (target / "a").symlink_to(outside / "victim")
    descriptor = os.open(target, os.O_RDONLY)
    placer = Placer(descriptor, PlacingOptions(), lambda path, reason: None)
    with pytest.raises(HostileEntry):
        placer.hard_link(entry(b"/b", EntryType.FILE, mode=0o644), b"/a")
    placer.close()
    os.close(descriptor)
    assert not (target / "b").exists()


@pytest.mark.parametrize("overwrite", [False, True], ids=["fresh", "overwriting"])
@pytest.mark.parametrize(
    "draft",
    [
        pytest.param(file(b"/f", b"abc", size=2**62), id="huge size"),
        pytest.param(file(b"/f", b"abc", size=2), id="longer than its size"),
        pytest.param(file(b"/f", b"abc", size=4), id="shorter than its size"),
        pytest.param(file(b"/f", b"abc", digest=bytes(32)), id="wrong hash"),
        pytest.param(file(b"/f", b"abc", extents=[Extent(0, 2, 4)], size=4), id="extent beyond the chunk"),
        pytest.param(file(b"/f", b"abc", extents=[Extent(0, 0, 2), Extent(0, 1, 2)]), id="overlapping extents"),
        pytest.param(file(b"/f", b"", size=5), id="content without extents"),
        pytest.param(file(b"/f", b"abc", part=1), id="a second part alone"),
        pytest.param(file(b"/f", b"abc", last=False), id="a file without end"),
    ],
)
def test_content_that_does_not_add_up_leaves_no_file(target: Path, draft: Draft, overwrite: bool):
    done = restore_entries(target, [draft, GOOD], overwrite=overwrite)
    assert list(done.tree()) == ["zz-good"]
    assert done.result.damaged == 1
    assert b"/f" in done.errors


@pytest.fixture
def placer(target: Path):
    target.mkdir()
    descriptor = os.open(target, os.O_RDONLY)
    made = Placer(descriptor, PlacingOptions(), lambda path, reason: None)
    yield made
    made.close()
    os.close(descriptor)


@pytest.mark.defence
def test_file_has_no_name_before_its_content_was_checked(target: Path, placer: Placer):
    whole = file(b"/f", b"content").entry
    placing = placer.file(whole)
    placing.write(b"content")
    assert not (target / "f").exists()
    placing.finish(whole)
    assert (target / "f").read_bytes() == b"content"
    placing.close()


@pytest.mark.defence
def test_name_that_was_taken_meanwhile_is_not_overwritten(target: Path, placer: Placer):
    (target / "f").write_bytes(b"mine")
    with pytest.raises(PlacingFault, match="of this name already"):
        placer.file(file(b"/f", b"theirs").entry)
    assert (target / "f").read_bytes() == b"mine"


def lot_of(*drafts: Draft) -> tuple[SmallFiles, bytes]:
    """Small files of one directory whose contents lie side by side in one chunk."""
    entries, content = [], b""
    for draft in drafts:
        piece = b"".join(draft.pieces)
        entries.append(replace(draft.entry, extents=[Extent(0, len(content), len(piece))]))
        content += piece
    lot = begin(entries[0], [ChunkRef(b"i" * 32, b"h" * 32)], 0)
    assert lot is not None
    assert all(lot.take(each, 0) for each in entries[1:])
    return lot, content


@pytest.mark.defence
def test_name_that_was_taken_meanwhile_is_not_overwritten_by_a_small_file(target: Path, outside: Path, placer: Placer):
    (target / "f").write_bytes(b"mine")
    (target / "g").symlink_to(outside / "victim")
    refused = {}
    lot, content = lot_of(file(b"/f", b"theirs"), file(b"/g", b"theirs"), file(b"/h", b"new"))
    placed = placer.small_files(lot, content, lambda path, fault: refused.setdefault(path, str(fault)))
    assert (target / "f").read_bytes() == b"mine"
    assert list(refused) == [b"/f", b"/g"]
    assert "of this name already" in refused[b"/f"]
    assert (placed, (target / "h").read_bytes()) == ((1, 3), b"new")


@pytest.mark.defence
def test_small_file_may_be_read_by_nobody_before_all_of_it_is_there(
    target: Path, placer: Placer, monkeypatch: pytest.MonkeyPatch
):
    """A restore that is killed may leave it under its name: it must not look like the file."""
    modes = []
    dress = LotDresser.dress

    def looking(dresser: LotDresser, descriptor: int, given):
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return dress(dresser, descriptor, given)

    monkeypatch.setattr(LotDresser, "dress", looking)
    lot, content = lot_of(file(b"/f", b"content"))
    placer.small_files(lot, content, lambda path, fault: None)
    assert modes == [0]
    assert stat.S_IMODE((target / "f").stat().st_mode) == 0o644


@pytest.mark.defence
def test_small_file_that_was_interrupted_leaves_nothing_behind(
    target: Path, placer: Placer, monkeypatch: pytest.MonkeyPatch
):
    def interrupt(dresser: LotDresser, descriptor: int, given):
        raise KeyboardInterrupt

    monkeypatch.setattr(LotDresser, "dress", interrupt)
    lot, content = lot_of(file(b"/f", b"content"))
    with pytest.raises(KeyboardInterrupt):
        placer.small_files(lot, content, lambda path, fault: None)
    assert os.listdir(target) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="owners are set by root only")
def test_small_files_in_a_directory_that_hands_its_group_down_get_their_own(target: Path):
    target.mkdir()
    os.chown(target, 1234, 1234)
    target.chmod(0o2700)
    theirs = file(b"/g", b"y")
    theirs.entry = replace(theirs.entry, uid=77, gid=78)
    done = restore_entries(target, [file(b"/f", b"x"), theirs], numeric_owner=True)
    assert done.result.warnings == 0
    found = [(target / name).stat() for name in "fg"]
    assert [(each.st_uid, each.st_gid) for each in found] == [(0, 0), (77, 78)]


def test_small_file_of_an_impossible_time_is_placed_and_warned_of(target: Path):
    odd = file(b"/f", b"x")
    odd.entry = replace(odd.entry, uid=1 << 40, mtime_ns=2**63 - 1)
    done = restore_entries(target, [odd, GOOD], numeric_owner=True)
    assert (target / "f").read_bytes() == b"x"
    assert stat.S_IMODE((target / "f").stat().st_mode) == 0o644
    assert done.result.files == 2


def test_numbers_out_of_bounds_are_warned_of_and_harm_nothing(target: Path):
    odd = file(b"/f", b"x", mtime_ns=2**62)
    done = restore_entries(target, [odd, directory(b"/g"), link(b"/l", b"x" * 5000), link(b"/m", b"")])
    assert (target / "f").read_bytes() == b"x"
    assert {b"/l", b"/m"} <= set(done.errors)


def test_file_in_parts_is_put_together(target: Path):
    content = b"onetwothree"
    common = {"size": len(content), "digest": file(b"/x", content).entry.digest}
    drafts = [
        file(b"/f", b"one", last=False, **common),
        file(b"/f", b"two", part=1, last=False, **common),
        file(b"/f", b"three", part=2, **common),
        GOOD,
    ]
    done = restore_entries(target, drafts)
    assert done.result.errors == 0, done.errors
    assert (target / "f").read_bytes() == content


def test_zeros_become_holes_and_the_content_is_the_same(target: Path):
    content = b"head" + bytes(3_000_000) + b"tail" + bytes(200_000)
    done = restore_entries(target, [file(b"/f", content)])
    assert done.result.errors == 0
    assert (target / "f").read_bytes() == content
    assert (target / "f").stat().st_blocks * 512 < 500_000


HOSTILE_PIECES = st.sampled_from([b"..", b".", b"", b"a", b"b", b"\0", b"\xff", b"n" * 255, b"n" * 256, b"d", b"f"])


@settings(max_examples=200, deadline=None)
@given(st.lists(HOSTILE_PIECES, max_size=6))
def test_split_path_gives_plain_components_or_refuses(pieces: list[bytes]):
    path = b"/" + b"/".join(pieces)
    try:
        components = split_path(path)
    except HostileEntry:
        return
    assert b"/" + b"/".join(components) == path
    assert not {b"", b".", b".."} & set(components)
    assert b"\0" not in path


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.lists(HOSTILE_PIECES, min_size=1, max_size=3), st.sampled_from(["file", "dir", "link", "hard"])),
        max_size=12,
    )
)
def test_any_stream_of_entries_stays_inside_the_target(tmp_path_factory, entries):
    top = tmp_path_factory.mktemp("any")
    (top / "outside").mkdir()
    make = {
        "file": lambda path: file(path, b"content of " + path),
        "dir": directory,
        "link": lambda path: link(path, os.fsencode(top / "outside")),
        "hard": lambda path: file(path, b"hard", hardlink=3),
    }
    drafts = [make[kind](b"/" + b"/".join(pieces)) for pieces, kind in entries]
    done = restore_entries(top / "target", [*drafts, GOOD])
    assert os.listdir(top / "outside") == []
    assert sorted(os.listdir(top)) == ["outside", "target"]
    for path, _, names in os.walk(os.fsencode(top / "target")):
        assert not [name for name in names if name.startswith(b".strongroom")], path
    assert done.result.files <= len(drafts) + 1
