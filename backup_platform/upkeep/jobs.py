"""Reclaim and compaction as jobs, `reclaim vault:<uuid>` and `compact vault:<uuid>`, and who asks for them."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.utils import timezone

from backup_platform.catalog.models import Pack, Publication, SessionState, Snapshot, SnapshotState
from backup_platform.jobs.models import Job, JobKind
from backup_platform.jobs.running import StillWaiting
from backup_platform.jobs.services import enqueue, renew
from backup_platform.storage.base import StoreUnavailable
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.upkeep.compacting import compact_vault
from backup_platform.upkeep.models import ReclaimRound, RoundState
from backup_platform.upkeep.reclaiming import Outcome, reclaim_vault, unfinished_round
from backup_platform.upkeep.turns import Turn
from backup_platform.vaults.models import Vault

EVERY = timedelta(hours=20)
"""Between the end of a round and the next one's beginning: once a day, whatever the hour."""
AFTER_A_STOP = timedelta(hours=2)


def reclaim(job: Job) -> dict[str, Any]:
    """A job `reclaim vault:<uuid>`. What it waits for is kept with it; the tick asks again."""
    vault = _vault_of(job)
    begin = is_round_due(vault)
    try:
        outcome = reclaim_vault(vault, Turn(lambda: renew(job)), begin=begin)
    except StoreUnavailable as fault:
        raise StillWaiting(str(fault)) from fault
    if outcome.round is not None and outcome.round.state == RoundState.DONE:
        enqueue(JobKind.COMPACT, subject=job.subject, tenant_id=job.tenant_id)
    return summary(outcome)


def compact(job: Job) -> dict[str, Any]:
    """A job `compact vault:<uuid>`."""
    try:
        return asdict(compact_vault(_vault_of(job), Turn(lambda: renew(job))))
    except StoreUnavailable as fault:
        raise StillWaiting(str(fault)) from fault


def summary(outcome: Outcome) -> dict[str, Any]:
    """An outcome as plain figures."""
    figures: dict[str, Any] = {
        "waits_for": outcome.waits_for,
        "unlinked_packs": outcome.unlinked_packs,
        "unlinked_bytes": outcome.unlinked_bytes,
        "roots_removed": outcome.roots,
        "refused_commits_taken_back": outcome.taken_back,
        "later": outcome.later[:10],
    }
    round_ = outcome.round
    if round_ is not None:
        names = ("number", "state", "snapshots", "retired", "condemned", "condemned_bytes", "revived", "removed",
                 "removed_bytes", "packs", "pack_bytes", "fault")  # fmt: skip
        figures["round"] = {name: getattr(round_, name) for name in names}
    return figures


def is_round_due(vault: Vault) -> bool:
    """Whether the vault's next round should begin."""
    last = ReclaimRound.objects.filter(vault=vault).order_by("-number").first()
    if last is None or last.ended_at is None:
        return True
    pause = AFTER_A_STOP if last.state == RoundState.STOPPED else EVERY
    return last.ended_at < timezone.now() - pause


def ask_due() -> int:
    """Ask for reclaim in every vault where there is something to do; in how many. The tick's work."""
    with without_tenant_scope("the tick looks after every tenant's vaults"):
        vaults = [vault for vault in Vault.objects.order_by("number").iterator(chunk_size=500) if _has_work(vault)]
        for vault in vaults:
            enqueue(JobKind.RECLAIM, subject=f"vault:{vault.pk}", tenant_id=vault.tenant_id)
        for vault in Vault.objects.filter(next_number__gt=0).order_by("number").iterator(chunk_size=500):
            _ask_for_compaction(vault)
    return len(vaults)


def _ask_for_compaction(vault: Vault) -> None:
    """Once a day too, for a round may wait for weeks; small packs should be joined before they are copied away."""
    subject = f"vault:{vault.pk}"
    lately = Job.objects.filter(kind=JobKind.COMPACT, subject=subject, created_at__gt=timezone.now() - EVERY)
    if not lately.exists():
        enqueue(JobKind.COMPACT, subject=subject, tenant_id=vault.tenant_id)


def _has_work(vault: Vault) -> bool:
    if vault.next_number == 0:
        return False
    leaving = Pack.objects.filter(vault=vault, unlink_at__lte=timezone.now())
    refused = Publication.objects.filter(vault=vault).exclude(session__state=SessionState.OPEN)
    roots = Snapshot.objects.filter(vault=vault, state=SnapshotState.RECLAIMED, objects_gone_at__isnull=True)
    unfinished = unfinished_round(vault) is not None
    return unfinished or is_round_due(vault) or leaving.exists() or refused.exists() or roots.exists()


def _vault_of(job: Job) -> Vault:
    return Vault.objects.get(pk=UUID(job.subject.partition(":")[2]))
