"""Where a damaged pack's right bytes come from: another copy, the sound parts of several, parity. Judged by digest.

Nothing here changes anything that is stored. What is found is written to a scratch file, and is believed only when the
whole has the digest that the pack had when it was sealed.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

from blake3 import blake3

from backup_platform.catalog import stores
from backup_platform.catalog.errors import RecordUnavailable
from backup_platform.catalog.models import Pack
from backup_platform.catalog.pack_check import drop_cached_pages
from backup_platform.storage.base import NotFound, StoreError, StoreUnavailable
from backup_platform.upkeep.heal_places import Place
from backup_platform.upkeep.parity_code import ParityUnavailable, read_at, read_head, repair
from protocol.stored.errors import FormatError
from protocol.stored.packs import (
    IndexEntry,
    encode_index,
    encode_pack_header,
    encode_record_header,
    encode_trailer,
    read_index,
    scan_records,
)

logger = logging.getLogger(__name__)

PIECE = 1024 * 1024
AWAY = (StoreError, RecordUnavailable, OSError)
"""What reading a place may end in that says nothing about its bytes (absence is told apart before)."""


@dataclass(slots=True)
class Search:
    """How looking for right bytes went: `how` names the source when they were found; `away` could not be asked."""

    how: str = ""
    away: list[str] = field(default_factory=list)
    spoilt: list[Place] = field(default_factory=list)
    """Places whose row says *good*, and which gave other bytes."""


@contextmanager
def scratch() -> Iterator[BinaryIO]:
    """A file of this instance that has no name and is gone afterwards."""
    folder = stores.home() / "healing"
    folder.mkdir(mode=0o700, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        yield file


def find_bytes(pack: Pack, places: Sequence[Place], damaged: Place, out: BinaryIO) -> Search:
    """Write the pack's right bytes to `out` (empty), from wherever they can be had; `how` is empty when nowhere.

    The ways, cheapest first: another place that has all of it; the sound records of all places together (which also
    mends a pack's heads and index from each other); parity beside any of them.
    """
    search = Search()
    for place in places:
        if place != damaged and place.counts_as_good and _copy_whole(pack, place, out, search):
            search.how = f"from the copy at {place.name}"
            return search
    with ExitStack() as stack:
        files = [file for place in places if (file := _opened(place.open, place, search, stack)) is not None]
        try:
            _put_together(pack, places, files, out, search, stack)
        except StoreUnavailable as fault:
            search.away.append(str(fault)[:200])
    return search


def _put_together(
    pack: Pack, places: Sequence[Place], files: list[BinaryIO], out: BinaryIO, search: Search, stack: ExitStack
) -> None:
    if files and _joined(pack, files, out):
        search.how = "from the sound parts of what is stored" if len(files) > 1 else "from its own sound parts"
        return
    for place in places:
        parity = _opened(place.open_parity, place, search, stack)
        if parity is not None and _by_parity(pack, files, parity, out):
            search.how = f"by the parity at {place.name}"
            return


def matches(file: BinaryIO, digest: bytes) -> bool:
    """Whether a file, read afresh from its disk, has this BLAKE3 as a whole."""
    drop_cached_pages(file)
    whole = blake3()
    file.seek(0)
    while piece := file.read(PIECE):
        whole.update(piece)
    return whole.digest() == digest


def _copy_whole(pack: Pack, place: Place, out: BinaryIO, search: Search) -> bool:
    _empty(out)
    whole = blake3()
    try:
        with place.open() as file:
            while piece := file.read(PIECE):
                whole.update(piece)
                out.write(piece)
    except NotFound:
        search.spoilt.append(place)
        return False
    except AWAY as fault:
        _note_away(place, fault, search)
        return False
    if whole.digest() != bytes(pack.digest):
        search.spoilt.append(place)
        return False
    return True


def _opened(opener: Callable[[], BinaryIO], place: Place, search: Search, stack: ExitStack) -> BinaryIO | None:
    try:
        return stack.enter_context(opener())
    except NotFound:
        return None
    except AWAY as fault:
        _note_away(place, fault, search)
        return None


def _note_away(place: Place, fault: Exception, search: Search) -> None:
    logger.info("A place could not be asked for a pack.", extra={"subject": place.subject, "fault": str(fault)[:200]})
    if place.name not in search.away:
        search.away.append(place.name)


def _joined(pack: Pack, files: Sequence[BinaryIO], out: BinaryIO) -> bool:
    """Every record from the first file that has it intact; heads and index are made anew from each other."""
    for entries in _indexes(files):
        _empty(out)
        out.write(encode_pack_header(pack.vault_id.bytes, pack.uid.bytes))
        if not all(_write_record(files, entry, out) for entry in entries):
            continue
        start, index = out.tell(), encode_index(entries)
        out.write(index + encode_trailer(start, len(entries), index))
        if matches(out, bytes(pack.digest)):
            return True
    return False


def _indexes(files: Sequence[BinaryIO]) -> Iterator[list[IndexEntry]]:
    """Every list of records that may be the pack's: by an index that is whole, or by walking from record to record."""
    for file in files:
        try:
            yield read_index(_reader(file), _size(file))
        except FormatError:
            continue
    for file in files:
        try:
            yield list(scan_records(_reader(file), _size(file)))
        except FormatError:
            continue


def _write_record(files: Sequence[BinaryIO], entry: IndexEntry, out: BinaryIO) -> bool:
    for file in files:
        sealed = read_at(file, entry.offset, entry.length)
        if len(sealed) == entry.length and blake3(sealed).digest() == entry.digest:
            out.write(encode_record_header(entry.kind, entry.id, entry.length, entry.digest))
            out.write(sealed)
            return True
    return False


def _by_parity(pack: Pack, files: Sequence[BinaryIO], parity: BinaryIO, out: BinaryIO) -> bool:
    _empty(out)
    try:
        head = read_head(parity)
        if head.digest != bytes(pack.digest) or head.size != pack.bytes:
            raise FormatError("parity", "is of another pack")
        repaired = repair(files, parity, head, out)
    except (FormatError, ParityUnavailable) as fault:
        logger.warning("Parity could not be used.", extra={"pack": pack.uid.hex, "fault": str(fault)[:200]})
        return False
    return repaired.whole and matches(out, bytes(pack.digest))


def _reader(file: BinaryIO) -> Callable[[int, int], bytes]:
    return lambda offset, length: read_at(file, offset, length)


def _size(file: BinaryIO) -> int:
    return file.seek(0, 2)


def _empty(out: BinaryIO) -> None:
    out.seek(0)
    out.truncate()
