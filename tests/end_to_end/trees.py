"""Trees to back up, and how to say what is in one."""

from __future__ import annotations

import hashlib
import os
import random
import stat
from pathlib import Path

NANOSECONDS = 1_600_000_000_123_456_789


def make_tree(top: Path, seed: int = 7) -> None:
    """Small, large, empty, sparse and linked files, odd names, odd modes, exact times."""
    chance = random.Random(seed)
    (top / "many").mkdir(parents=True)
    for number in range(60):
        (top / "many" / f"file-{number:03}").write_bytes(chance.randbytes(chance.randrange(1, 9_000)))
    (top / "large.bin").write_bytes(chance.randbytes(6_000_000))
    (top / "empty").write_bytes(b"")
    (top / "deep" / "er" / "still").mkdir(parents=True)
    (top / "deep" / "er" / "still" / "leaf").write_text("leaf\n")
    (top / ("n" * 255)).write_bytes(b"a name of 255 bytes")
    Path(os.fsdecode(os.fsencode(top) + b"/not-utf8-\xff\n\x1b[31m")).write_bytes(b"odd")
    (top / "link").symlink_to("deep/er")
    (top / "dangling").symlink_to("/nowhere/at all")
    (top / "twin-a").write_bytes(b"two names, one file")
    os.link(top / "twin-a", top / "twin-b")
    with (top / "sparse").open("wb") as file:
        file.seek(5_000_000)
        file.write(b"end")
    (top / "script").write_bytes(b"#!/bin/sh\n")
    (top / "script").chmod(0o750)
    (top / "private").mkdir(mode=0o700)
    (top / "private" / "secret").write_bytes(b"x")
    (top / "private" / "secret").chmod(0o400)
    os.utime(top / "script", ns=(NANOSECONDS, NANOSECONDS))
    os.utime(top / "link", ns=(NANOSECONDS, NANOSECONDS), follow_symlinks=False)
    os.utime(top / "private", ns=(NANOSECONDS, NANOSECONDS))


def describe(top: Path) -> dict[bytes, tuple]:
    """Everything about a tree that a restore must bring back, by relative path."""
    found: dict[bytes, tuple] = {}
    root = os.fsencode(top)
    for directory, names, files in os.walk(root):
        for name in [*names, *files]:
            path = os.path.join(directory, name)
            found[os.path.relpath(path, root)] = _one(path)
    found[b"."] = _one(root)
    return found


def _one(path: bytes) -> tuple:
    info = os.lstat(path)
    common = (stat.S_IFMT(info.st_mode), stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid, info.st_mtime_ns)
    if stat.S_ISLNK(info.st_mode):
        return (common[0], *common[2:], os.readlink(path))
    if stat.S_ISREG(info.st_mode):
        with open(path, "rb") as file:
            return (*common, info.st_size, hashlib.sha256(file.read()).hexdigest())
    return common
