"""Small files on their way into a fresh target, many at a time: those of one directory whose contents lie in one chunk.

A bundle holds hundreds of them, and what is done for each file apart (a step, a temporary name, a rename, a look at the
chunk) costs more than its content. Who is not plain enough for this is placed by `placing.FilePlacing`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agents.engine.open_directories import HostileEntry, split_path
from agents.engine.paths import MAX_PATH
from protocol.stored.manifests import ChunkRef, Entry, EntryType

MOST = 512
"""Files of one lot: a bound for what is planned at once."""
LARGEST = 64 * 1024
"""Bytes of content from which on a file may have holes, which only `placing.FilePlacing` makes."""
_PRIVILEGED = 0o7000
"""Modes with any of these bits are left to `ownership.set_attributes`."""
_NOT_NAMES = (b"", b".", b"..")


@dataclass(slots=True)
class SmallFiles:
    """A lot: entries of one directory, their names there, and the chunk that holds all their contents."""

    directory: tuple[bytes, ...]
    ref: ChunkRef
    entries: list[Entry]
    names: list[bytes]
    prefix: bytes
    chunk: int
    weight: int

    def take(self, entry: Entry, weight: int) -> bool:
        """Add an entry, if it belongs to the lot."""
        path = entry.path
        cut = path.rfind(b"/") + 1
        name = path[cut:]
        if (
            path[:cut] != self.prefix
            or (entry.extents and entry.extents[0].chunk != self.chunk)
            or name in _NOT_NAMES
            or b"\0" in name
            or len(path) > MAX_PATH
            or len(self.entries) >= MOST
        ):
            return False
        self.entries.append(entry)
        self.names.append(name)
        self.weight += weight
        return True


def begin(entry: Entry, chunks: list[ChunkRef], weight: int) -> SmallFiles | None:
    """A lot that begins with this entry; None for a path that is not plain, or a file without content."""
    if not entry.extents:
        return None
    try:
        *directory, name = split_path(entry.path)
    except (HostileEntry, ValueError):
        return None
    chunk = entry.extents[0].chunk
    prefix = entry.path[: len(entry.path) - len(name)]
    return SmallFiles(tuple(directory), chunks[chunk], [entry], [name], prefix, chunk, weight)


def is_plain(entry: Entry) -> bool:
    """Whether an entry is a small file without anything special: whole, in one piece, with a hash and an only name."""
    extents = entry.extents
    return (
        entry.type == EntryType.FILE
        and entry.size < LARGEST
        and len(entry.digest) > 0
        and (len(extents) == 1 and extents[0].length == entry.size if extents else entry.size == 0)
        and entry.last
        and not (entry.part or entry.hardlink or entry.xattrs or entry.sparse or entry.mode & _PRIVILEGED)
    )


def contents(lot: SmallFiles, plaintext: bytes) -> Iterator[tuple[Entry, bytes, bytes]]:
    """Each entry with its name and content, unchecked; short where the extent points outside of the chunk."""
    for entry, name in zip(lot.entries, lot.names, strict=True):
        if entry.extents:
            extent = entry.extents[0]
            yield entry, name, plaintext[extent.offset : extent.offset + extent.length]
        else:
            yield entry, name, b""
