"""The dry run: what a round would do now, without changing anything."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connection
from pyroaring import BitMap64

from backup_platform.catalog.chunk_index import ChunkState
from backup_platform.catalog.models import LAW_3_OPEN, Pack, Session
from backup_platform.upkeep import guards
from backup_platform.upkeep.chunk_numbers import numbers_between, slices, spans
from backup_platform.upkeep.compacting import find_work
from backup_platform.upkeep.errors import ReclaimRefused
from backup_platform.upkeep.marking import Union, check_needs_known
from backup_platform.upkeep.retiring import due_to_retire
from backup_platform.vaults.models import Vault

SIZE_SQL = """
    SELECT count(*), coalesce(sum(length), 0) FROM catalog_chunk
     WHERE vault = %s AND number = ANY(%s::bigint[]) AND state IN (0, 1)
"""


@dataclass(slots=True)
class Report:
    """What a round would retire, condemn and wait for. `refused`: why it would not act at all."""

    vault: str
    snapshots: int = 0
    retiring: int = 0
    chunks: int = 0
    chunk_bytes: int = 0
    open_sessions: int = 0
    leaving_packs: int = 0
    leaving_bytes: int = 0
    compacting_packs: int = 0
    compacting_bytes: int = 0
    refused: str = ""


def preview(vault: Vault) -> Report:
    """What a round begun now would do. Nothing is written, no lock is taken."""
    report = Report(vault.name)
    leaving = Pack.objects.filter(vault=vault, unlink_at__isnull=False)
    report.leaving_packs, report.leaving_bytes = leaving.count(), sum(leaving.values_list("bytes", flat=True))
    report.open_sessions = Session.objects.filter(vault=vault, state__in=LAW_3_OPEN).count()
    work = find_work(vault)
    report.compacting_packs, report.compacting_bytes = len(work), sum(pack.bytes - pack.used for pack in work)
    due = frozenset(due_to_retire(vault))
    report.retiring = len(due)
    try:
        _check(vault, len(due))
        union = Union(vault, without=due)
        union.catch_up()
    except ReclaimRefused as why:
        report.refused = str(why)
        return report
    report.snapshots = len(union.counted)
    _measure(report, vault, union.numbers)
    return report


def _check(vault: Vault, retiring: int) -> None:
    paused = guards.pause_in_force(vault.tenant_id)
    if paused:
        raise ReclaimRefused(paused)
    guards.check_not_empty(vault)
    now = guards.count_snapshots(vault)
    guards.check_none_vanished(now, guards.expected_snapshots(vault))
    guards.check_share(retiring, now.counting)
    if not retiring:
        check_needs_known(vault)


def _measure(report: Report, vault: Vault, needed: BitMap64) -> None:
    for start, end in spans(0, vault.next_number):
        unneeded = numbers_between(vault.number, start, end, [ChunkState.LIVE, ChunkState.CONDEMNED]) - needed
        for batch in slices(unneeded):
            with connection.cursor() as cursor:
                cursor.execute(SIZE_SQL, [vault.number, list(batch)])
                count, size = cursor.fetchone()
            report.chunks += count
            report.chunk_bytes += int(size)
