"""Verify: a sealed pack is re-read from its place and compared before anything of it may count as good (law 2)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import BinaryIO

from django.db import transaction
from django.utils import timezone

from backup_platform.catalog.damage import Damage, is_pointed_at, report_damage, rows_of_pack
from backup_platform.catalog.models import Pack, PackState
from backup_platform.catalog.pack_check import Expected, PackReport, check_pack
from backup_platform.catalog.reading import PackGone, open_local_file
from backup_platform.catalog.work import ask_to_deduplicate

logger = logging.getLogger(__name__)


def verify_pack(pack_id: int) -> PackReport | None:
    """Check a sealed pack and have its good records deduplicated. None when there is nothing to verify (any more).

    Twice is as good as once. RecordUnavailable when the pack cannot be read just now: nothing is said about it then.
    """
    pack = Pack.objects.select_related("vault").filter(pk=pack_id, state=PackState.SEALED).first()
    if pack is None:
        return None
    report = examine_pack(pack)
    note_verified(pack, report)
    return report


def note_verified(pack: Pack, report: PackReport) -> None:
    """Let what re-reading a sealed pack found take effect."""
    with transaction.atomic():
        if report.intact:
            sealed = Pack.objects.filter(pk=pack.pk, state=PackState.SEALED)
            sealed.update(state=PackState.VERIFIED, verified_at=timezone.now(), fault="")
        else:
            tell_damage(pack, report)
        ask_to_deduplicate(pack)


Through = Callable[[BinaryIO], BinaryIO]
"""What a file is read through: a rate limit, for instance."""


def examine_pack(pack: Pack, through: Through = lambda file: file) -> PackReport:
    """Re-read a pack from its place on this host, changing nothing. Gone from two looked-up places, it is damaged.

    Copies at targets are not looked at: a good one there does not make a damaged file here whole.
    """
    expected = expectation(pack)
    for _ in range(2):
        report = read_pack(pack, expected, through)
        if report is not None:
            return report
        pack.refresh_from_db(fields=["place", "path"])
    return nothing_left(pack, expected)


def nothing_left(pack: Pack, expected: Expected) -> PackReport:
    """The report on a file that is gone."""
    everything = frozenset((record_id, place.offset) for record_id, place in expected.records)
    return PackReport("Its file is gone.", everything, outgrown=not everything and not is_pointed_at(pack))


def expectation(pack: Pack) -> Expected:
    """What the catalogue says about a pack."""
    return Expected(pack.vault_id, pack.uid, pack.bytes, bytes(pack.digest), rows_of_pack(pack))


def read_pack(pack: Pack, expected: Expected, through: Through = lambda file: file) -> PackReport | None:
    """Re-read a pack from its place; None when its file is not there. Needs no database, so any thread may."""
    try:
        with open_local_file(pack) as file:
            return check_pack(through(file), expected)
    except PackGone:
        return None


def tell_damage(pack: Pack, report: PackReport) -> Damage:
    """Write down what a report found wrong with a pack."""
    logger.error("A pack is damaged.", extra={"pack": pack.uid.hex, "fault": report.fault, "bad": len(report.bad)})
    return report_damage(pack, report.bad, report.fault)
