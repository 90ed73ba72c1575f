"""One round of reclaim from begin to end, carried on from wherever its row stands (law 3).

marking → condemned → removing → done, or → stopped, which says why and raises an alert. A round may take weeks: it
waits for every session that began before its condemnation. Each call does what can be done now.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import timedelta

from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from backup_platform.audit.services import record
from backup_platform.catalog import stores
from backup_platform.catalog.chunk_index import vault_lock
from backup_platform.catalog.models import Session
from backup_platform.jobs.ticks import run_alone
from backup_platform.notifications.services import raise_alert, resolve_alert
from backup_platform.notifications.words import AlertKind
from backup_platform.upkeep import guards
from backup_platform.upkeep.condemning import condemn
from backup_platform.upkeep.emptying import GRACE, release_packs
from backup_platform.upkeep.errors import ReclaimRefused, TurnOver
from backup_platform.upkeep.marking import Union, check_needs_known
from backup_platform.upkeep.models import UNFINISHED, ReclaimRound, RoundState
from backup_platform.upkeep.removing import remove, sessions_to_wait_for, snapshots_to_wait_for
from backup_platform.upkeep.retiring import due_to_retire, retire
from backup_platform.upkeep.taking_back import remove_roots, take_back_refused
from backup_platform.upkeep.turns import Turn
from backup_platform.upkeep.unlinking import unlink_due
from backup_platform.vaults.models import Vault

logger = logging.getLogger(__name__)

ADVICE = "Look at `manage.py reclaim --dry-run`. Backups and restores are not touched by this."


@dataclass(slots=True)
class Outcome:
    """What one call came to. `round` is None when none was begun."""

    round: ReclaimRound | None = None
    waits_for: str = ""
    unlinked_packs: int = 0
    unlinked_bytes: int = 0
    taken_back: int = 0
    roots: int = 0
    later: list[str] = field(default_factory=list)
    """Why files that are due could not be removed yet."""


def reclaim_vault(
    vault: Vault, turn: Turn, *, begin: bool = True, grace: timedelta = GRACE, accepted_by: str = ""
) -> Outcome:
    """Carry the vault's unfinished round on, or begin a new one (`begin`), and remove files that are due.

    `accepted_by` names who said that a loss of snapshots is as it should be. Nothing is raised for what has to wait:
    the outcome says it. StoreError when the home directory is away.
    """
    outcome = Outcome()
    if not run_alone(f"reclaim {vault.number}", lambda: _carry_on(vault, turn, begin, grace, accepted_by, outcome)):
        outcome.waits_for = "Somebody else is at work on this vault."
    return outcome


def unfinished_round(vault: Vault) -> ReclaimRound | None:
    """The vault's round that is not done or stopped, if there is one."""
    return ReclaimRound.objects.filter(vault=vault, state__in=UNFINISHED).first()


def _carry_on(vault: Vault, turn: Turn, begin: bool, grace: timedelta, accepted_by: str, outcome: Outcome) -> None:
    outcome.waits_for = guards.pause_in_force(vault.tenant_id)
    if outcome.waits_for:
        return
    stores.local_target()  # while the store is away nothing is taken out of the catalogue either
    try:
        _clear_away(vault, turn, outcome)
        round_ = unfinished_round(vault) or (_begin(vault, accepted_by) if begin else None)
        outcome.round = round_
        if round_ is not None:
            _advance(round_, vault, turn, grace, outcome)
            _clear_away(vault, turn, outcome)
    except TurnOver:
        outcome.waits_for = guards.pause_in_force(vault.tenant_id) or "Its time was over; it goes on from there."


def _clear_away(vault: Vault, turn: Turn, outcome: Outcome) -> None:
    """What earlier rounds left to be done."""
    outcome.taken_back += take_back_refused(vault, turn)
    outcome.roots += remove_roots(vault, turn)
    files = unlink_due(vault, turn)
    outcome.unlinked_packs += files.packs
    outcome.unlinked_bytes += files.bytes
    outcome.later = files.waits_for


def _begin(vault: Vault, accepted_by: str) -> ReclaimRound:
    """A new round, its range ending where the vault's chunks end now. What came later is the next one's."""
    with vault_lock(vault.number, shared=True):
        last = ReclaimRound.objects.filter(vault=vault).aggregate(number=Max("number"))["number"] or 0
        return ReclaimRound.objects.create(
            tenant_id=vault.tenant_id,
            vault=vault,
            number=last + 1,
            end=Vault.objects.values_list("next_number", flat=True).get(pk=vault.pk),
            accepted_by=accepted_by[:200],
        )


def _advance(round_: ReclaimRound, vault: Vault, turn: Turn, grace: timedelta, outcome: Outcome) -> None:
    try:
        if round_.state == RoundState.MARKING:
            _mark(round_, vault, turn)
        if round_.state == RoundState.CONDEMNED:
            outcome.waits_for = _waits_for(round_)
            ReclaimRound.objects.filter(pk=round_.pk).update(waits_for=outcome.waits_for)
            if not outcome.waits_for:
                _step(round_, RoundState.CONDEMNED, RoundState.REMOVING)
        if round_.state == RoundState.REMOVING:
            _remove(round_, vault, turn, grace)
    except ReclaimRefused as why:
        _stop(round_, str(why))
        outcome.waits_for = str(why)


def _mark(round_: ReclaimRound, vault: Vault, turn: Turn) -> None:
    if not round_.all_snapshots:
        _check_before(round_, vault)
    guards.check_not_empty(vault)
    retire(round_, vault, due_to_retire(vault), turn)
    check_needs_known(vault)
    union = Union(vault)
    union.catch_up()
    condemn(round_, vault, union, turn)


def _check_before(round_: ReclaimRound, vault: Vault) -> None:
    now = guards.count_snapshots(vault)
    if not round_.accepted_by:
        guards.check_none_vanished(now, guards.expected_snapshots(vault))
        guards.check_share(len(due_to_retire(vault)), now.counting)
    else:
        record("reclaim.loss_accepted", actor=round_.accepted_by, object=f"vault:{vault.pk}", tenant=vault.tenant_id,
               round=round_.number, snapshots=now.rows)  # fmt: skip
    round_.all_snapshots = now.rows
    ReclaimRound.objects.filter(pk=round_.pk).update(all_snapshots=now.rows)


def _waits_for(round_: ReclaimRound) -> str:
    """Who may still count on something that this round condemned, in words; "" when nobody can."""
    sessions, snapshots = sessions_to_wait_for(round_), snapshots_to_wait_for(round_)
    if sessions:
        first = Session.objects.select_related("machine").get(pk=sessions[0])
        began = f"{first.machine.name}, {first.begun_at:%Y-%m-%d %H:%M} UTC"
        return f"Backups that began before the condemnation and have not ended: {len(sessions)}, the oldest of {began}."
    return f"Snapshots that are not verified yet: {len(snapshots)}." if snapshots else ""


def _step(round_: ReclaimRound, before: RoundState, after: RoundState) -> None:
    """Take a step of the round's life; TurnOver when somebody else took it."""
    if not ReclaimRound.objects.filter(pk=round_.pk, state=before).update(state=after, position=0, waits_for=""):
        raise TurnOver
    round_.state, round_.position, round_.waits_for = after, 0, ""


def _remove(round_: ReclaimRound, vault: Vault, turn: Turn, grace: timedelta) -> None:
    check_needs_known(vault)
    union = Union(vault)
    union.catch_up()
    remove(round_, vault, union, turn)
    emptied = release_packs(vault, turn, grace=grace)
    with transaction.atomic():
        mine = ReclaimRound.objects.filter(pk=round_.pk, state=RoundState.REMOVING)
        if not mine.update(
            state=RoundState.DONE, ended_at=timezone.now(), packs=emptied.packs, pack_bytes=emptied.bytes
        ):
            raise TurnOver
        record("reclaim.removed", actor="reclaim", object=f"vault:{vault.pk}", tenant=vault.tenant_id,
               round=round_.number, chunks=round_.removed, bytes=round_.removed_bytes, revived=round_.revived,
               packs=emptied.packs, pack_bytes=emptied.bytes)  # fmt: skip
        resolve_alert(vault.tenant_id, _alert_key(vault), "A round came to its end.")
    round_.refresh_from_db()


def _stop(round_: ReclaimRound, why: str) -> None:
    logger.error("Reclaim stopped.", extra={"vault": str(round_.vault_id), "round": round_.number, "why": why})
    vault = round_.vault
    with transaction.atomic():
        ReclaimRound.objects.filter(pk=round_.pk, state__in=UNFINISHED).update(
            state=RoundState.STOPPED, ended_at=timezone.now(), fault=why[:500], waits_for=""
        )
        text = f"Reclaim of vault {vault.name} stopped and took nothing away. {why}"
        raise_alert(vault.tenant_id, AlertKind.OTHER, f"vault:{vault.pk}", "warning", text, ADVICE, _alert_key(vault))
        record("reclaim.stopped", actor="reclaim", object=f"vault:{vault.pk}", tenant=vault.tenant_id,
               round=round_.number, why=why[:300])  # fmt: skip
    round_.refresh_from_db()


def _alert_key(vault: Vault) -> str:
    return f"reclaim:{vault.pk}"
