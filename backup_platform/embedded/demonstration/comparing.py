"""Compares two trees, content and metadata, with nothing but the standard library.

It shares no code with the agent on purpose: a mistake in how the agent reads metadata would otherwise hide itself.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

BLOCK = 1024 * 1024
MOST_DIFFERENCES = 20
_RESTORED = frozenset({stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK})


@dataclass
class Comparison:
    """What was compared and where the trees differ (the first twenty differences are kept, all are counted).

    Fifos, sockets and devices are counted in `specials` and not compared: no restore makes them.
    """

    files: int = 0
    directories: int = 0
    others: int = 0
    specials: int = 0
    size: int = 0
    differences: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Whether nothing differs, and something was there to compare."""
        return self.differences == 0 and self.files > 0

    def differ(self, path: bytes, what: str) -> None:
        """Note one difference."""
        self.differences += 1
        if len(self.examples) < MOST_DIFFERENCES:
            self.examples.append(f"{os.fsdecode(path)!r}: {what}")


def compare_trees(original: bytes, restored: bytes) -> Comparison:
    """Compare the directory RESTORED with ORIGINAL, both ways: what is missing, what is extra, what is different."""
    result = Comparison()
    links: dict[tuple[int, int], tuple[int, int]] = {}
    for relative in _walk(original, result):
        first, second = _join(original, relative), _join(restored, relative)
        try:
            _compare(result, relative, first, second, links)
        except FileNotFoundError as fault:
            result.differ(relative, f"missing on one side ({'restored' if fault.filename == second else 'original'})")
        except OSError as fault:
            result.differ(relative, f"cannot be compared ({fault.strerror})")
    for relative in _walk(restored, result):
        if not os.path.lexists(_join(original, relative)):
            result.differ(relative, "was restored, but is not in the original")
    return result


def _compare(
    result: Comparison, path: bytes, first: bytes, second: bytes, links: dict[tuple[int, int], tuple[int, int]]
) -> None:
    ours = os.lstat(first)
    if stat.S_IFMT(ours.st_mode) not in _RESTORED:
        result.specials += 1
        return
    theirs = os.lstat(second)
    _count(result, ours)
    _compare_metadata(result, path, ours, theirs)
    _compare_attributes(result, path, first, second)
    _compare_content(result, path, first, second, ours, theirs)
    _compare_hard_links(result, path, ours, theirs, links)


def _walk(root: bytes, result: Comparison) -> Iterator[bytes]:
    """Every path below ROOT, relative to it, the root itself first as b''. What cannot be listed is a difference."""
    yield b""
    waiting = [b""]
    while waiting:
        directory = waiting.pop()
        try:
            with os.scandir(_join(root, directory)) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as fault:
            result.differ(directory, f"cannot be listed ({fault.strerror})")
            continue
        for entry in found:
            relative = os.path.join(directory, entry.name)
            yield relative
            if entry.is_dir(follow_symlinks=False):
                waiting.append(relative)


def _join(root: bytes, relative: bytes) -> bytes:
    return os.path.join(root, relative) if relative else root


def _count(result: Comparison, facts: os.stat_result) -> None:
    if stat.S_ISREG(facts.st_mode):
        result.files += 1
        result.size += facts.st_size
    elif stat.S_ISDIR(facts.st_mode):
        result.directories += 1
    else:
        result.others += 1


def _compare_metadata(result: Comparison, path: bytes, ours: os.stat_result, theirs: os.stat_result) -> None:
    if ours.st_mode != theirs.st_mode:
        result.differ(path, f"mode {stat.filemode(ours.st_mode)} became {stat.filemode(theirs.st_mode)}")
    if ours.st_mtime_ns != theirs.st_mtime_ns:
        result.differ(path, f"modification time {ours.st_mtime_ns} became {theirs.st_mtime_ns}")
    # Only root may give files away, so only root can restore an owner that is somebody else.
    if os.geteuid() == 0 and (ours.st_uid, ours.st_gid) != (theirs.st_uid, theirs.st_gid):
        result.differ(path, f"owner {ours.st_uid}:{ours.st_gid} became {theirs.st_uid}:{theirs.st_gid}")


def _compare_attributes(result: Comparison, path: bytes, first: bytes, second: bytes) -> None:
    ours, theirs = _attributes(first), _attributes(second)
    if ours != theirs:
        result.differ(path, f"extended attributes {sorted(ours)} became {sorted(theirs)}")


def _attributes(path: bytes) -> dict[str, bytes]:
    try:
        names = os.listxattr(path, follow_symlinks=False)
        return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}
    except OSError:
        return {}  # a file system without extended attributes


def _compare_content(
    result: Comparison, path: bytes, first: bytes, second: bytes, ours: os.stat_result, theirs: os.stat_result
) -> None:
    if stat.S_IFMT(ours.st_mode) != stat.S_IFMT(theirs.st_mode):
        return
    if stat.S_ISLNK(ours.st_mode) and os.readlink(first) != os.readlink(second):
        result.differ(path, "the link points elsewhere")
    if stat.S_ISREG(ours.st_mode) and (ours.st_size != theirs.st_size or _digest(first) != _digest(second)):
        result.differ(path, "the content differs")


def _digest(path: bytes) -> bytes:
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        while block := handle.read(BLOCK):
            digest.update(block)
    return digest.digest()


def _compare_hard_links(
    result: Comparison,
    path: bytes,
    ours: os.stat_result,
    theirs: os.stat_result,
    links: dict[tuple[int, int], tuple[int, int]],
) -> None:
    """Paths that were one file must be one file again."""
    if stat.S_ISDIR(ours.st_mode) or ours.st_nlink < 2:
        return
    identity = (theirs.st_dev, theirs.st_ino)
    if links.setdefault((ours.st_dev, ours.st_ino), identity) != identity:
        result.differ(path, "a hard link became a file of its own")
