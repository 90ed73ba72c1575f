"""Scrubbing one pack at one place: read as a whole, compared, healed if it can be, and only then spoken of as damage.

Damage that another copy or parity mends at once never reaches a snapshot. What cannot be mended takes effect as
verification's does (spares are used, machines are asked again, snapshots are marked), and a finding stays open.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, cast

from django.utils import timezone

from backup_platform.catalog.chunk_index import vault_lock
from backup_platform.catalog.errors import RecordUnavailable
from backup_platform.catalog.models import Copy, CopyState, Pack, PackPlace, PackState
from backup_platform.catalog.pack_check import PackReport, check_pack
from backup_platform.catalog.scrubbing import HERE, NOT_OPEN, believe_again, take_effect
from backup_platform.catalog.verification import examine_pack, expectation, nothing_left, tell_damage
from backup_platform.storage.base import ChecksumMismatch, NotFound, StoreUnavailable
from backup_platform.storage.local import NotAStore
from backup_platform.targets.services import note_away, note_back
from backup_platform.upkeep.heal_packs import Healing, ask_to_scrub, heal_place
from backup_platform.upkeep.heal_places import READ_FROM, Place, places_of
from backup_platform.upkeep.models import FindingKind, FindingState, ScrubFinding
from backup_platform.upkeep.scrub_findings import close_healed, damaged_records, note_finding, note_healed, note_lost
from backup_platform.upkeep.scrub_reading import PacedFile

Alive = Callable[[], object]
BROUGHT_BACK = "by whoever brought the right file back"


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look at one pack at one place ended in. `said` is for people; "" when all is well."""

    bytes: int = 0
    damaged: bool = False
    healed: bool = False
    said: str = ""


def scrub_pack(pack_id: int, rate: float = 0.0, alive: Alive = bool) -> Looked:
    """Re-read a pack on this host. Raises RecordUnavailable when it cannot be read just now."""
    packs = Pack.objects.select_related("vault").filter(pk=pack_id, state__in=NOT_OPEN, place__in=HERE)
    pack = packs.first()
    if pack is None:
        return Looked()
    report = examine_pack(pack, lambda file: cast("BinaryIO", PacedFile(file, rate, alive)))
    return settle_pack(pack, report)


def settle_pack(pack: Pack, report: PackReport) -> Looked:
    """Let what re-reading a pack on this host found take effect, healing first."""
    if report.intact or pack.state == PackState.SEALED:
        take_effect(pack, report)
        if report.intact:
            close_healed(f"pack:{pack.pk}", BROUGHT_BACK, None, FindingKind.PACK)
        return Looked(pack.bytes, not report.intact, said=report.fault)
    healing = heal_place(Place(pack))
    if not healing.how and _has_left(pack):
        return Looked(pack.bytes)  # it was evicted or reclaimed while it was read: nobody looks for this file any more
    records = len(report.bad) + damaged_records(pack)
    if report.outgrown and not records and not healing.how:
        return Looked(pack.bytes)  # nothing looks for what is damaged in it
    finding = note_finding(
        FindingKind.PACK, pack.tenant_id, f"pack:{pack.pk}", report.fault, pack=pack, key=pack.path, records=records
    )
    said = f"{report.fault} {records} records are affected."
    if healing.how:
        note_healed(finding, healing.how)
        return Looked(pack.bytes, True, True, f"{said} It was healed {healing.how}.")
    return Looked(pack.bytes, True, _tell(pack, report, finding, healing), said)


def scrub_copy(copy_id: int, rate: float = 0.0, alive: Alive = bool) -> Looked:
    """Re-read a copy at its target as a whole. Raises StoreUnavailable when that cannot be done just now."""
    copies = Copy.objects.select_related("target", "pack__vault").filter(target__state__in=READ_FROM)
    copy = copies.filter(pk=copy_id, state__in=[CopyState.GOOD, CopyState.DAMAGED]).first()
    if copy is None:
        return Looked()
    report = _examine_copy(copy, rate, alive)
    return settle_copy(copy, report)


def settle_copy(copy: Copy, report: PackReport) -> Looked:
    """Let what re-reading a copy found take effect, healing first."""
    mine = Copy.objects.filter(pk=copy.pk, key=copy.key, state__in=[CopyState.GOOD, CopyState.DAMAGED])
    if report.intact:
        mine.update(state=CopyState.GOOD, checked_at=timezone.now(), fault="")
        close_healed(f"copy:{copy.pk}", BROUGHT_BACK, copy.target, FindingKind.COPY)
        if copy.pack.state == PackState.DAMAGED:
            _use_whole_copy(copy)
        return Looked(copy.pack.bytes)
    mine.update(state=CopyState.DAMAGED, fault=report.fault[:500])
    finding = note_finding(
        FindingKind.COPY, copy.tenant_id, f"copy:{copy.pk}", report.fault, pack=copy.pack, target=copy.target,
        key=copy.key, records=len(report.bad),
    )  # fmt: skip
    healing = heal_place(Place(copy.pack, copy))
    said = f"{report.fault} It is the copy at {copy.target.name}."
    if healing.how:
        note_healed(finding, healing.how)
        return Looked(copy.pack.bytes, True, True, f"{said} It was healed {healing.how}.")
    if _others_are_good(copy):
        return Looked(copy.pack.bytes, True, False, said)
    return Looked(copy.pack.bytes, True, _tell(copy.pack, report, finding, healing), said)


def _examine_copy(copy: Copy, rate: float, alive: Alive) -> PackReport:
    expected = expectation(copy.pack)
    try:
        with Place(copy.pack, copy).open() as file:
            report = check_pack(cast("BinaryIO", PacedFile(file, rate, alive)), expected)
    except NotFound:
        return nothing_left(copy.pack, expected)
    except ChecksumMismatch:
        everything = frozenset((record_id, place.offset) for record_id, place in expected.records)
        return PackReport("The target's own checksum of it does not match.", everything)
    except (StoreUnavailable, RecordUnavailable) as fault:
        if isinstance(fault, NotAStore):
            note_away(copy.target, fault)
        raise
    note_back(copy.target)
    return report


def _tell(pack: Pack, report: PackReport, finding: ScrubFinding, healing: Healing) -> bool:
    """Nothing that was asked has the pack whole: say so, and have it tried again while something was away.

    Returns whether spare copies in other packs saved all of it.
    """
    if report.bad:
        damage = tell_damage(pack, report)
        if damage.saved and not damage.gone:
            note_healed(finding, "from spare copies in other packs")
            return True
    else:
        Pack.objects.filter(pk=pack.pk).update(state=PackState.DAMAGED, fault=report.fault[:500])
    if healing.away:
        ScrubFinding.objects.filter(pk=finding.pk).update(state=FindingState.OPEN, how="")
    else:
        note_lost(finding)
    return False


def _others_are_good(copy: Copy) -> bool:
    """Whether another place's row says that it has the pack whole: then no snapshot is hurt."""
    others = [place for place in places_of(copy.pack) if place.copy is None or place.copy.pk != copy.pk]
    here = copy.pack.place in (PackPlace.SPOOL, PackPlace.TARGET) and copy.pack.state == PackState.VERIFIED
    return any((place.copy is None and here) or (place.copy is not None and place.counts_as_good) for place in others)


def _has_left(pack: Pack) -> bool:
    """Whether the row says by now that the pack has no file on this host."""
    return not Pack.objects.filter(pk=pack.pk, place__in=HERE).exists()


def _use_whole_copy(copy: Copy) -> None:
    """A pack that is called damaged has a whole copy after all: the file here is healed from that. Where the pack has
    none here, the copy is the pack, and nobody else would ever say so."""
    with vault_lock(copy.pack.vault.number, shared=False):
        good = Copy.objects.filter(pk=copy.pk, key=copy.key, state=CopyState.GOOD)
        remote = Pack.objects.filter(pk=copy.pack_id, place=PackPlace.REMOTE, state=PackState.DAMAGED)
        if good.exists() and remote.exists():
            believe_again(copy.pack)
            return
    for place in places_of(copy.pack):
        if place.copy is None:
            ask_to_scrub(place)
