"""Paths are bytes, absolute, with `/` between components; b"/" is the root directory.

Path order is the byte order of the paths with every `/` read as the lowest byte. It is the order in which a walk that
sorts names meets things: a directory comes right before its contents, and all of them before its next sibling
(`/a`, `/a/b`, `/a.b`; plain byte order would put `/a.b` between `/a` and `/a/b`). It is total, since no path holds a
NUL byte.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

ROOT = b"/"
#: A path that is longer is neither saved nor restored. 16 times what the system takes in one call; without a bound a
#: user could make paths of which a few hundred fill a root, which names every segment's first and last one.
MAX_PATH = 64 * 1024
#: Longer ones are rare where nobody makes them on purpose. They end no segment of their own accord, and are left out
#: when there are too many of them for a root.
LONG_PATH = 1024


def path_key(path: bytes) -> bytes:
    """What to sort by to get path order."""
    return path.replace(b"/", b"\0")


def prefix_of(directory: bytes) -> bytes:
    """What the paths of a directory's children begin with."""
    return ROOT if directory == ROOT else directory + b"/"


def is_within(path: bytes, directory: bytes) -> bool:
    """Whether `path` is `directory` or lies under it."""
    return path == directory or path.startswith(prefix_of(directory))


def components(path: bytes) -> list[bytes]:
    """The names on the way from the root directory to `path`."""
    return [name for name in path.split(b"/") if name]


def normalise_source(path: bytes) -> bytes:
    """Make what a user named absolute. Links on the way to it are resolved, a link that it is itself stays one."""
    absolute = os.path.abspath(path)
    if absolute in (b"/", b"//"):
        return ROOT
    parent, name = os.path.split(absolute)
    return prefix_of(os.path.realpath(parent)) + name


def display(path: bytes) -> str:
    """The path for people: control characters, line ends and bytes that are no UTF-8 are escaped."""
    return plain(path.decode("utf-8", "backslashreplace"))


def plain(text: str) -> str:
    """Text for people's terminals: what would move the cursor, or is no character, is escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def unique_sources(paths: Iterable[bytes]) -> list[bytes]:
    """Normalised sources in path order, each once. Nested ones stay: the scan does not double them."""
    return sorted({normalise_source(path) for path in paths}, key=path_key)
