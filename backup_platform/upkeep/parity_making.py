"""Parity beside a pack at a target that asks for it: made from bytes that match the pack's digest, and read back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from blake3 import blake3
from django.utils import timezone

from backup_platform.catalog.leases import pack_lease
from backup_platform.catalog.models import Copy, CopyState, Pack, PackPlace, PackState
from backup_platform.storage.base import NotFound
from backup_platform.targets.queries import home_row
from backup_platform.upkeep.heal_places import Place, parity_key
from backup_platform.upkeep.heal_sources import PIECE, scratch
from backup_platform.upkeep.heal_standing import stand_in
from backup_platform.upkeep.models import FindingKind, HomeParity
from backup_platform.upkeep.parity_code import BLOCK_SIZE, check_parity, columns_for, read_head, write_parity
from backup_platform.upkeep.scrub_findings import close_healed, note_finding
from protocol.stored.errors import FormatError
from protocol.stored.parity import ParityHead

logger = logging.getLogger(__name__)


def place_named(subject: str) -> Place | None:
    """The place of a subject `pack:<id>`, `copy:<id>`, `parity:pack-<id>` or `parity:copy-<id>`, if it is good."""
    kind, _, number = subject.removeprefix("parity:").replace("-", ":").partition(":")
    if kind == "copy":
        copies = Copy.objects.select_related("target", "pack__vault").filter(state=CopyState.GOOD)
        copy = copies.filter(pk=int(number)).first()
        return None if copy is None else Place(copy.pack, copy)
    packs = Pack.objects.select_related("vault").filter(place=PackPlace.TARGET, state=PackState.VERIFIED)
    pack = packs.filter(pk=int(number)).first()
    return None if pack is None else Place(pack)


def make_parity(place: Place, alive: Callable[[], object] = bool) -> int:
    """Put parity beside a pack, read it back, and write down its size in bytes; 0 when the target asks for none.

    WrongSource when the pack there is not what the catalogue knows (nothing is made of damaged bytes);
    StoreUnavailable, RecordUnavailable and ParityUnavailable when it cannot be done just now.
    """
    percent = percent_at(place)
    if not percent:
        return 0
    with pack_lease(place.pack.pk) as pack, scratch() as out, _local_file(place) as file:
        columns, further = columns_for(percent)
        head = write_parity(
            file,
            ParityHead(
                pack.vault_id.bytes, pack.uid.bytes, pack.bytes, bytes(pack.digest), BLOCK_SIZE, columns, further
            ),
            out,
            alive,
        )
        if not _is_sound(place, head):
            stand_in(place.store(), parity_key(place.key), out, _digest(out), lambda key: True)
        _note(place, head.file_size)
        return head.file_size


def look_at_parity(subject: str) -> bool:
    """Read the parity beside a pack that was just scrubbed; a damaged one is forgotten, so that it is made anew.

    True when it is sound or there is none.
    """
    place = place_named(subject)
    if place is None or not _noted(place):
        return True
    if _fault_of(place) == "":
        return True
    target = place.copy.target if place.copy else None
    note_finding(FindingKind.PARITY, place.pack.tenant_id, subject, "Its parity is damaged or gone.", pack=place.pack,
                 target=target, key=parity_key(place.key))  # fmt: skip
    _note(place, 0)
    return False


def percent_at(place: Place) -> int:
    """The percent of parity that the place's target asks for."""
    if place.copy is not None:
        return place.copy.target.parity_percent
    home = home_row()
    return 0 if home is None else home.parity_percent


def _fault_of(place: Place) -> str:
    try:
        with place.open_parity() as file:
            head = read_head(file)
            right = head.digest == bytes(place.pack.digest)
            return "" if right and not check_parity(file, head) else "It is damaged."
    except NotFound:
        return "It is gone."
    except FormatError as fault:
        return str(fault)


def _is_sound(place: Place, head: ParityHead) -> bool:
    """Whether the same parity stands there already and is whole."""
    try:
        with place.open_parity() as file:
            found = read_head(file)
            return found == head and not check_parity(file, found)
    except (NotFound, FormatError):
        return False


@contextmanager
def _local_file(place: Place) -> Iterator[BinaryIO]:
    """The pack's file, brought here first when it is at another target: it is read twice, the second time across."""
    with place.open() as file:
        if place.copy is None:
            yield file
            return
        with scratch() as here:
            while piece := file.read(PIECE):
                here.write(piece)
            yield here


def _note(place: Place, size: int) -> None:
    if place.copy is not None:
        Copy.objects.filter(pk=place.copy.pk, key=place.copy.key).update(parity_bytes=size)
    elif size:
        HomeParity.objects.update_or_create(pack=place.pack, defaults={"bytes": size, "checked_at": timezone.now()})
    else:
        HomeParity.objects.filter(pack=place.pack).delete()
    if size:
        subject = place.subject
        close_healed(subject, "by making it anew", place.copy.target if place.copy else None,
                     FindingKind.PARITY)  # fmt: skip


def _noted(place: Place) -> bool:
    if place.copy is not None:
        return place.copy.parity_bytes > 0
    return HomeParity.objects.filter(pack=place.pack).exists()


def _digest(file: BinaryIO) -> bytes:
    file.seek(0)
    whole = blake3()
    while piece := file.read(PIECE):
        whole.update(piece)
    return whole.digest()
