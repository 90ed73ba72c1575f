"""The walk over the sources: order, boundaries, what is left out, what cannot be read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.engine import scanning
from agents.engine.exclusions import Exclusions, pseudo_mounts, read_exclude_file
from agents.engine.paths import display, normalise_source, path_key, unique_sources
from agents.engine.scanning import Scanner
from agents.errors import UsageFault


def scan(*sources: Path | bytes, exclude: Sequence[str] = (), defaults: bool = True, **options) -> list[bytes]:
    faults: list[tuple[bytes, str]] = []
    scanner = Scanner(
        unique_sources(map(os.fsencode, sources)),
        Exclusions(exclude, defaults=defaults),
        lambda path, reason: faults.append((path, reason)),
        **options,
    )
    found = [path for path, *_ in scanner]
    scan.faults = faults
    return found


def under(tree: Path, found: list[bytes]) -> list[str]:
    root = os.fsencode(tree) + b"/"
    return [os.fsdecode(path[len(root) :]) for path in found if path.startswith(root)]


def touch(tree: Path, *names: str) -> Path:
    for name in names:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(b"x")
    return tree


@given(
    st.lists(st.lists(st.binary(min_size=1, max_size=3).filter(lambda n: b"/" not in n and b"\0" not in n), max_size=4))
)
def test_path_order_is_that_of_walking_with_sorted_names(paths):
    tree: dict = {}
    for path in paths:
        node = tree
        for name in path:
            node = node.setdefault(name, {})
    walked = []

    def walk(prefix: bytes, node: dict) -> None:
        for name in sorted(node):
            walked.append(prefix + b"/" + name)
            walk(prefix + b"/" + name, node[name])

    walk(b"", tree)
    assert sorted(walked, key=path_key) == walked


def test_walk_is_in_path_order_with_directories_before_their_contents(tmp_path):
    touch(tmp_path / "t", "a/b", "a.b", "a-b/c", "a/a/a", "b")
    found = scan(tmp_path / "t")
    assert found == sorted(found, key=path_key)
    assert under(tmp_path / "t", found) == ["a", "a/a", "a/a/a", "a/b", "a-b", "a-b/c", "a.b", "b"]
    assert found[0] == b"/"


def test_ways_to_sources_are_told_without_their_other_contents(tmp_path):
    touch(tmp_path, "wanted/file", "other/file")
    found = scan(tmp_path / "wanted" / "file")
    assert found[-1] == os.fsencode(tmp_path / "wanted" / "file")
    assert found[:-1] == sorted({os.fsencode(p) for p in (tmp_path / "wanted" / "file").parents}, key=path_key)


def test_patterns_are_those_of_gitignore(tmp_path):
    tree = touch(tmp_path / "t", "keep.txt", "x.tmp", "d/y.tmp", "d/keep.tmp", "cache/z", "d/cache/z", "build/out")
    found = scan(tree, exclude=["*.tmp", "!keep.tmp", "cache/", f"{tree}/build"])
    assert under(tree, found) == ["d", "d/keep.tmp", "keep.txt"]


def test_named_source_is_saved_though_a_pattern_matches_it(tmp_path):
    tree = touch(tmp_path / "t", "cache/a", "other/b")
    found = scan(tree, tree / "cache", exclude=["cache/", "other"])
    assert under(tree, found) == ["cache", "cache/a"]


def test_names_that_are_no_utf8_can_be_excluded_and_kept(tmp_path):
    tree = tmp_path / "t"
    tree.mkdir()
    for name in (b"\xff.tmp", b"\xff.keep"):
        open(os.fsencode(tree) + b"/" + name, "wb").close()
    assert scan(tree, exclude=["*.tmp"])[-1].endswith(b"\xff.keep")


def test_bad_pattern_and_unreadable_pattern_file_are_usage_faults(tmp_path):
    with pytest.raises(UsageFault):
        Exclusions(["!"])
    with pytest.raises(UsageFault, match="not a valid pattern"):
        Exclusions(["[z-a]"])
    with pytest.raises(UsageFault):
        read_exclude_file(str(tmp_path / "nothing"))
    (tmp_path / "patterns").write_text("# comment\n\n*.tmp\n!keep.tmp\n")
    assert read_exclude_file(str(tmp_path / "patterns")) == ["*.tmp", "!keep.tmp"]


def test_tagged_caches_are_left_out_unless_asked_for(tmp_path):
    tree = touch(tmp_path / "t", "c/data", "c/sub/data", "fake/data")
    (tree / "c/CACHEDIR.TAG").write_bytes(b"Signature: 8a477f597d28d172789f06886806bc55\n# more")
    (tree / "fake/CACHEDIR.TAG").write_bytes(b"something else")
    assert under(tree, scan(tree)) == ["c", "c/CACHEDIR.TAG", "fake", "fake/CACHEDIR.TAG", "fake/data"]
    assert "c/sub/data" in under(tree, scan(tree, defaults=False))


def test_pseudo_file_systems_are_saved_empty():
    found = scan(b"/", exclude=["/*", "!/proc", "!/sys", "!/dev"])
    assert b"/proc" in found
    assert not [path for path in found if path.startswith((b"/proc/", b"/sys/", b"/dev/"))]


def test_source_on_a_pseudo_directory_is_saved_when_named():
    assert b"/proc/self" in scan(b"/proc/self")


def test_pseudo_mounts_are_read_with_their_escapes():
    lines = [
        rb"36 35 0:5 / /mnt/with\040space rw - proc proc rw",
        b"37 35 8:1 / /data rw,noatime shared:1 - ext4 /dev/sda1 rw",
        b"garbage",
    ]
    assert pseudo_mounts(lines) == {b"/mnt/with space"}


def test_other_file_systems_are_not_entered(tmp_path):
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == Path("/dev").stat().st_dev:
        pytest.skip("/dev/shm is no file system of its own here")
    marker = shm / f"strongroom-{os.getpid()}"
    marker.touch()
    try:
        everything = scan(b"/dev", defaults=False)
        assert os.fsencode(marker) in everything
        one = scan(b"/dev", defaults=False, one_file_system=True)
        assert b"/dev/shm" in one
        assert os.fsencode(marker) not in one
        named = scan(b"/dev", b"/dev/shm", defaults=False, one_file_system=True)
        assert os.fsencode(marker) in named
    finally:
        marker.unlink()


def test_entries_that_vanish_are_named_and_the_walk_goes_on(tmp_path):
    tree = touch(tmp_path / "t", "a", "b/inside", "c", "d/inside", "e")
    faults: list[bytes] = []
    scanner = Scanner([os.fsencode(tree)], Exclusions(), lambda path, _: faults.append(path))
    seen = []
    for path, *_ in scanner:
        seen.append(path)
        if path.endswith(b"/a"):
            (tree / "c").unlink()
        if path.endswith(b"/d"):
            (tree / "d/inside").unlink()
            (tree / "d").rmdir()
    assert under(tree, seen) == ["a", "b", "b/inside", "d", "e"]
    assert faults == [os.fsencode(tree / "c"), os.fsencode(tree / "d")]


@pytest.mark.defence
def test_directory_swapped_for_a_link_is_not_entered(tmp_path):
    outside = touch(tmp_path / "outside", "secret")
    tree = touch(tmp_path / "t", "d/inside", "z")
    faults: list[bytes] = []
    seen = []
    for path, *_ in Scanner([os.fsencode(tree)], Exclusions(), lambda path, _: faults.append(path)):
        seen.append(path)
        if path.endswith(b"/d"):
            (tree / "d").rename(tmp_path / "moved")
            (tree / "d").symlink_to(outside)
    assert under(tree, seen) == ["d", "z"]
    assert faults == [os.fsencode(tree / "d")]


def test_few_descriptors_are_open_however_deep_the_tree(tmp_path, monkeypatch):
    monkeypatch.setattr(scanning, "MAX_OPEN", 5)
    tree = tmp_path / "t"
    deep = tree
    for level in range(40):
        touch(deep, "a", "zz/inside", "~")
        deep = deep / f"m{level}"
    most = 0
    found = []
    scanner = Scanner([os.fsencode(tree)], Exclusions(), lambda *_: pytest.fail("nothing is wrong here"))
    for path, *_ in scanner:
        found.append(path)
        most = max(most, sum(level.descriptor >= 0 for level in scanner._levels))
    assert found == sorted(found, key=path_key)
    assert len(found) == len(set(found)) == 40 * 4 + 39 + len(tree.parts)
    assert most <= 6


def test_abandoned_walk_closes_its_descriptors(tmp_path):
    tree = touch(tmp_path / "t", "a/b/c", "d")
    before = len(os.listdir("/proc/self/fd"))
    walk = iter(Scanner([os.fsencode(tree)], Exclusions(), lambda *_: None))
    for path, *_ in walk:
        if path.endswith(b"/c"):
            break
    walk.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_links_on_the_way_to_a_source_are_resolved_but_not_the_source(tmp_path):
    touch(tmp_path / "real", "file")
    (tmp_path / "link").symlink_to("real")
    base = os.fsencode(tmp_path)
    assert normalise_source(base + b"/link/file") == base + b"/real/file"
    assert normalise_source(base + b"/link") == base + b"/link"
    assert normalise_source(b"/../") == b"/"


def test_paths_are_shown_escaped():
    assert display(b"/a\nb\x1b[31m\xff\xe2\x80\xae") == "/a\\nb\\x1b[31m\\xff\\u202e"
    assert display("/grün".encode()) == "/grün"
