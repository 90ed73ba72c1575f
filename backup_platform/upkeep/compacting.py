"""Compact: packs that are mostly dead are rewritten, and small ones are joined, so that space really comes back.

It needs no keys: sealed records are copied as they are. This file finds the work; rewriting.py does it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from django.db import connection

from backup_platform.catalog.errors import RecordUnavailable
from backup_platform.jobs.ticks import run_alone
from backup_platform.notifications.services import raise_alert, resolve_alert
from backup_platform.notifications.words import AlertKind
from backup_platform.upkeep.emptying import GRACE
from backup_platform.upkeep.errors import TurnOver
from backup_platform.upkeep.guards import pause_in_force
from backup_platform.upkeep.rewriting import NoRoom, SourceDamaged, clear_leftovers, rewrite
from backup_platform.upkeep.turns import Turn
from backup_platform.vaults.models import Vault
from protocol.stored.packs import INDEX_ENTRY_SIZE, MAX_PACK_RECORDS, PACK_TARGET_SIZE, RECORD_HEADER_SIZE

logger = logging.getLogger(__name__)

MOSTLY_DEAD = 0.5
"""A pack is rewritten when less than this share of its bytes is used: then the copying frees more than it writes."""
SMALL = 16 * 1024 * 1024
FEW = 8
"""Small packs are joined when they fill a pack of 16 MiB together, or when there are this many."""

USE_SQL = """
    SELECT p.id, p.bytes, coalesce(u.used, 0)::bigint, coalesce(u.records, 0)
      FROM catalog_pack p
      LEFT JOIN (SELECT pack, sum(length + %(overhead)s) AS used, count(*) AS records
                   FROM catalog_chunk WHERE vault = %(vault)s AND state IN (0, 1) GROUP BY pack) u ON u.pack = p.id
      LEFT JOIN catalog_session s ON s.id = p.session_id
     WHERE p.vault_id = %(vault_id)s AND p.state = 'verified' AND p.place IN ('target', 'remote')
       AND p.deduplicated_at IS NOT NULL AND p.unlink_at IS NULL AND coalesce(s.state, '') <> 'open'
       AND coalesce(u.records, 0) > 0 AND (u.used < p.bytes * %(share)s OR p.bytes < %(small)s)
       AND NOT EXISTS (SELECT 1 FROM catalog_arrival a WHERE a.pack = p.id)
       AND NOT EXISTS (SELECT 1 FROM catalog_chunk c WHERE c.vault = %(vault)s AND c.pack = p.id AND c.state = 2)
     ORDER BY p.id
"""


@dataclass(frozen=True, slots=True)
class PackUse:
    """A pack, the bytes of its file, and how many of them (and records) are used."""

    id: int
    bytes: int
    used: int
    records: int

    @property
    def is_dead(self) -> bool:
        """Whether it is worth rewriting by itself."""
        return self.used < self.bytes * MOSTLY_DEAD


@dataclass(slots=True)
class Compacted:
    """What a call did: packs read and written, bytes of files before and after, and what has to wait."""

    sources: int = 0
    packs: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    waits_for: str = ""
    skipped: list[str] = field(default_factory=list)


def compact_vault(vault: Vault, turn: Turn, *, grace: timedelta = GRACE) -> Compacted:
    """Rewrite what should be, group by group. Old packs go after the grace. Never raises for a disk that is full."""
    done = Compacted()
    if not run_alone(f"compact {vault.number}", lambda: _compact(vault, turn, grace, done)):
        done.waits_for = "Somebody else is at work on this vault."
    return done


def find_work(vault: Vault) -> list[PackUse]:
    """The packs that a compaction would rewrite now: the mostly dead, and small ones when they are worth joining."""
    with connection.cursor() as cursor:
        cursor.execute(
            USE_SQL,
            {"vault": vault.number, "vault_id": vault.pk, "share": MOSTLY_DEAD, "small": SMALL,
             "overhead": RECORD_HEADER_SIZE + INDEX_ENTRY_SIZE},
        )  # fmt: skip
        found = [PackUse(*row) for row in cursor.fetchall()]
    dead = [pack for pack in found if pack.is_dead]
    small = [pack for pack in found if not pack.is_dead]
    worth = len(small) >= FEW or sum(pack.used for pack in small) >= SMALL
    return sorted(dead + small, key=lambda pack: pack.id) if worth else dead


def _compact(vault: Vault, turn: Turn, grace: timedelta, done: Compacted) -> None:
    done.waits_for = pause_in_force(vault.tenant_id)
    if done.waits_for:
        return
    clear_leftovers(vault)
    try:
        for group in _groups(find_work(vault)):
            turn.check()
            _compact_group(vault, group, turn, grace, done)
        resolve_alert(vault.tenant_id, f"compact:{vault.pk}", "There is room again.")
    except TurnOver:
        done.waits_for = pause_in_force(vault.tenant_id) or "Its time was over; it goes on from there."
    except NoRoom as fault:
        done.waits_for = str(fault)
        raise_alert(vault.tenant_id, AlertKind.DISK, f"vault:{vault.pk}", "warning", str(fault),
                    "Make room on the platform's disk, or let tier rules move packs away.",
                    f"compact:{vault.pk}")  # fmt: skip


def _compact_group(vault: Vault, group: Sequence[PackUse], turn: Turn, grace: timedelta, done: Compacted) -> None:
    try:
        made = rewrite(vault, [pack.id for pack in group], turn, grace=grace)
    except (SourceDamaged, RecordUnavailable) as fault:
        logger.warning("Packs could not be compacted.", extra={"vault": str(vault.pk), "fault": str(fault)})
        done.skipped.append(str(fault))
        return
    done.sources += len(group)
    done.packs += 1
    done.bytes_before += sum(pack.bytes for pack in group)
    done.bytes_after += made.bytes


def _groups(work: Sequence[PackUse]) -> Iterator[list[PackUse]]:
    """What fits into one new pack each. A single small pack that is not dead stays as it is."""
    group: list[PackUse] = []
    for pack in work:
        full = sum(p.used for p in group) + pack.used > PACK_TARGET_SIZE
        if group and (full or sum(p.records for p in group) + pack.records > MAX_PACK_RECORDS):
            yield from _worth(group)
            group = []
        group.append(pack)
    yield from _worth(group)


def _worth(group: list[PackUse]) -> Iterator[list[PackUse]]:
    if len(group) > 1 or any(pack.is_dead for pack in group):
        yield group
