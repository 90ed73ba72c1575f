"""One open pack: sealed records go to its end, are made durable, and at last index and trailer close it.

`append`, `sync` and `seal` block and run off the event loop. `append` and `seal` are called one at a time; `sync` may
run beside an `append`, since it answers only for what was appended before it began.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from blake3 import blake3

from backup_platform.gateway.errors import PackDead
from backup_platform.gateway.file_layer import Buffer, FileLayer, write_all
from backup_platform.gateway.spool import SEALED
from protocol.stored.packs import (
    RECORD_HEADER_SIZE,
    IndexEntry,
    RecordKind,
    encode_index,
    encode_pack_header,
    encode_record_header,
    encode_trailer,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Record:
    """One sealed record on its way to a pack: `digest` is BLAKE3 of `payload`, already compared."""

    kind: int
    id: bytes
    digest: bytes
    payload: Buffer


@dataclass(frozen=True, slots=True)
class SealedFile:
    """What the catalogue records of a sealed pack."""

    digest: bytes
    size: int
    records: int


class PackWriter:
    """The file at `path` (`….open` or `….new`) until `seal` makes it `….pack`.

    After any failed system call the writer is dead: it raises PackDead and never touches the file again, because
    after a failed fsync the kernel may hold pages for clean that never reached the disk.
    """

    def __init__(self, files: FileLayer, vault_id: UUID, uid: UUID, path: Path) -> None:
        self.files = files
        self.path = path
        self.entries: list[IndexEntry] = []
        self.dead = False
        self._digest = blake3()
        self._name_durable = False
        header = encode_pack_header(vault_id.bytes, uid.bytes)
        self._fd = self._guard(lambda: files.create(self.path))
        self.size = 0
        self._write([header])

    def append(self, records: Sequence[Record]) -> list[IndexEntry]:
        """Write `records` to the end of the file (not yet durable); returns where each one's sealed bytes are."""
        buffers: list[Buffer] = []
        added: list[IndexEntry] = []
        offset = self.size
        for record in records:
            length = len(record.payload)
            buffers += (encode_record_header(record.kind, record.id, length, record.digest), record.payload)
            added.append(IndexEntry(record.kind, record.id, offset + RECORD_HEADER_SIZE, length, record.digest))
            offset += RECORD_HEADER_SIZE + length
        self._write(buffers)
        self.entries += added
        return added

    def sync(self) -> None:
        """Make everything appended so far durable, and the first time the file's name too."""
        self._guard(lambda: self.files.fdatasync(self._fd))
        if not self._name_durable:
            self._guard(lambda: self.files.fsync_directory(self.path.parent))
            self._name_durable = True

    def seal(self) -> SealedFile:
        """Add index and trailer, make all of it durable under the name `….pack`, and close the file."""
        index = encode_index(self.entries)
        self._write([index, encode_trailer(self.size, len(self.entries), index)])
        self._guard(lambda: self.files.fdatasync(self._fd))
        final = self.path.with_suffix(SEALED)
        self._guard(lambda: self.files.rename(self.path, final))
        self._guard(lambda: self.files.fsync_directory(self.path.parent))
        self.path = final
        self.close()
        return SealedFile(self._digest.digest(), self.size, len(self.entries))

    def close(self) -> None:
        """Let go of the file; nothing is written."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _write(self, buffers: Sequence[Buffer]) -> None:
        written = self._guard(lambda: write_all(self.files, self._fd, buffers))
        for buffer in buffers:
            self._digest.update(buffer)
        self.size += written

    def _guard(self, call: Callable[[], T]) -> T:
        if self.dead:
            raise PackDead("this pack took no more bytes after an earlier fault")
        try:
            return call()
        except OSError as fault:
            self.dead = True
            raise PackDead(_sentence(fault)) from fault


def _sentence(fault: OSError) -> str:
    if fault.errno in (errno.ENOSPC, errno.EDQUOT):
        return "The server's spool disk is full. Nothing was lost; the backup can go on when there is space again."
    return "The server's spool disk did not take the data. Nothing acknowledged was lost; try again."


def matches(record: Record) -> bool:
    """Whether the sealed bytes are those that the agent meant to send, and a reference block is what it is named by.

    A chunk's name is keyed and cannot be checked here. A block's can: otherwise one machine could keep others from
    ever committing by storing rubbish under the names of their blocks.
    """
    named = record.kind != RecordKind.REFERENCE_BLOCK or record.id == record.digest
    return named and blake3(record.payload).digest() == record.digest
