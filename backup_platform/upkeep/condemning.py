"""Condemning: chunks that no snapshot needs are answered "missing" from now on. Nothing is removed yet.

In batches, each under the vault's exclusive lock for a moment, and each only after the bitmaps that were stored
meanwhile have been added to the union (a snapshot that came during the marking is not overlooked). What an open session
brought itself is left alone, or a first backup of many days would be asked to send everything again.
"""

from __future__ import annotations

from django.db import connection
from django.db.models import F
from django.utils import timezone
from pyroaring import BitMap64

from backup_platform.audit.services import record
from backup_platform.catalog.chunk_index import ChunkState, vault_lock
from backup_platform.catalog.models import LAW_3_OPEN, Session
from backup_platform.catalog.needs import revive_numbers
from backup_platform.upkeep.chunk_numbers import numbers_between, slices, spans
from backup_platform.upkeep.errors import TurnOver
from backup_platform.upkeep.guards import pause_in_force
from backup_platform.upkeep.marking import Union, unsettled_snapshots
from backup_platform.upkeep.models import ReclaimRound, RoundState
from backup_platform.upkeep.turns import Turn
from backup_platform.vaults.models import Vault

CONDEMN_SQL = """
    WITH condemned AS (
        UPDATE catalog_chunk SET state = 1
         WHERE vault = %(vault)s AND number = ANY(%(numbers)s::bigint[]) AND state = 0
           AND pack NOT IN (SELECT p.id FROM catalog_pack p JOIN catalog_session s ON s.id = p.session_id
                             WHERE s.vault_id = %(vault_id)s AND s.state IN ('open', 'committed'))
        RETURNING length)
    SELECT count(*), coalesce(sum(length), 0) FROM condemned
"""


def condemn(round_: ReclaimRound, vault: Vault, union: Union, turn: Turn) -> None:
    """Condemn everything of the round's range that the union does not name, then note who may count on it."""
    for start, end in spans(round_.position, round_.end):
        turn.check()
        _condemn_span(round_, vault, union, turn, start, end)
        ReclaimRound.objects.filter(pk=round_.pk, state=RoundState.MARKING).update(position=end)
        round_.position = end
    _close(round_, vault, union)


def _condemn_span(round_: ReclaimRound, vault: Vault, union: Union, turn: Turn, start: int, end: int) -> None:
    for batch in slices(numbers_between(vault.number, start, end, [ChunkState.LIVE]) - union.numbers):
        turn.check()
        with vault_lock(vault.number, shared=False):
            check_turn(round_, RoundState.MARKING)
            union.catch_up()
            _condemn_batch(round_, vault, batch - union.numbers)
    # Of an earlier round that was stopped, and needed again since.
    for batch in slices(numbers_between(vault.number, start, end, [ChunkState.CONDEMNED]) & union.numbers):
        with vault_lock(vault.number, shared=False):
            note(round_, revived=revive_numbers(vault.number, batch))


def _condemn_batch(round_: ReclaimRound, vault: Vault, numbers: BitMap64) -> None:
    with connection.cursor() as cursor:
        cursor.execute(CONDEMN_SQL, {"vault": vault.number, "vault_id": vault.pk, "numbers": list(numbers)})
        count, size = cursor.fetchone()
    if count:
        # With every batch: whoever began in between must not trust what was there at its begin.
        Vault.objects.filter(pk=vault.pk).update(generation=F("generation") + 1)
        note(round_, condemned=count, condemned_bytes=int(size))


def _close(round_: ReclaimRound, vault: Vault, union: Union) -> None:
    """Write down, under the lock that every begin takes, which sessions began before this moment."""
    with vault_lock(vault.number, shared=False):
        check_turn(round_, RoundState.MARKING)
        union.catch_up()
        sessions = Session.objects.filter(vault=vault, state__in=LAW_3_OPEN).order_by("begun_at")
        round_.sessions = list(sessions.values_list("pk", flat=True))
        round_.unsettled = unsettled_snapshots(vault)
        round_.state, round_.position, round_.condemned_at = RoundState.CONDEMNED, 0, timezone.now()
        round_.snapshots = len(union.counted)
        round_.save(update_fields=["sessions", "unsettled", "state", "position", "condemned_at", "snapshots"])
        record("reclaim.condemned", actor="reclaim", object=f"vault:{vault.pk}", tenant=vault.tenant_id,
               round=round_.number, chunks=round_.condemned, bytes=round_.condemned_bytes,
               snapshots=round_.snapshots, sessions=len(round_.sessions))  # fmt: skip


def check_turn(round_: ReclaimRound, state: RoundState) -> None:
    """Raise TurnOver when the round is not in this state any more, or somebody paused reclaim."""
    same = ReclaimRound.objects.filter(pk=round_.pk, state=state)
    if not same.exists() or pause_in_force(round_.tenant_id):
        raise TurnOver


def note(round_: ReclaimRound, **more: int) -> None:
    """Add to the round's counts, in the transaction in force."""
    ReclaimRound.objects.filter(pk=round_.pk).update(**{name: F(name) + value for name, value in more.items()})
    for name, value in more.items():
        setattr(round_, name, getattr(round_, name) + value)
