"""Reading expiry: what may be reclaimed, until when something can be brought back, why a snapshot stays."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import Exists, Max, OuterRef, Q, QuerySet
from django.utils import timezone

from backup_platform.catalog.models import Snapshot, SnapshotState

from .clocks import rest_in_force
from .defaults import delays_of
from .holding import held
from .judging import Judge
from .models import Expiry, LifecycleEntry
from .planning import Decision
from .rows import standings_of
from .rules import Rules
from .shrinking import Standing


def reclaimable(snapshots: QuerySet[Snapshot], now: datetime | None = None) -> QuerySet[Snapshot]:
    """Those that have expired, whose days for bringing back are over, that no hold covers, and whose lifecycle records
    are all in the home store. Never the last good one of a series: damage may have met all that came after it. None at
    all while expiry rests, as the clock has leapt.

    Whoever uses the answer changes the state with a guarded update: somebody may bring one back meanwhile. One that
    expired without a row of its own (a rebuilt catalogue) waits the platform's days.
    """
    moment = now or timezone.now()
    if rest_in_force(moment):
        return snapshots.none()
    mine = Expiry.objects.filter(snapshot=OuterRef("pk"), brought_back_at__isnull=True)
    unwritten = LifecycleEntry.objects.filter(snapshot=OuterRef("pk"), number__isnull=True)
    over = Exists(mine.filter(until__lte=moment))
    strays = ~Exists(mine) & Q(expired_at__lte=moment - timedelta(days=settings.STRONGROOM_UNDELETE_DAYS))
    found = snapshots.filter(over | strays, ~Exists(unwritten), state=SnapshotState.EXPIRED)
    return found.exclude(held(None, moment)).exclude(_last_good())


def _last_good() -> Q:
    """The newest of its series that expired while it was good, where the series is there and nothing of it is good any
    more: what expired because newer ones were there outlives them."""
    series = Snapshot.objects.filter(machine=OuterRef("machine_id"))
    by_hand = Q(policy__isnull=True)

    def any_of(**kind: object) -> Q:
        mine = Q(Exists(series.filter(policy=OuterRef("policy_id"), **kind)))
        return mine | (by_hand & Q(Exists(series.filter(policy__isnull=True, **kind))))

    was_good = [SnapshotState.VERIFIED, SnapshotState.RECEIVED]
    there = any_of(state__in=[SnapshotState.RECEIVED, SnapshotState.DAMAGED])
    good = any_of(state=SnapshotState.VERIFIED)
    newer = any_of(state=SnapshotState.EXPIRED, state_before__in=was_good, received_at__gt=OuterRef("received_at"))
    return Q(state_before__in=was_good) & there & ~good & ~newer


def bring_back_until(snapshot: Snapshot) -> datetime | None:
    """Until when an expired snapshot's data stays for sure; None for one that has not expired."""
    if snapshot.state != SnapshotState.EXPIRED:
        return None
    row = Expiry.objects.filter(snapshot_id=snapshot.pk, brought_back_at__isnull=True).first()
    if row is not None:
        return row.until
    return None if snapshot.expired_at is None else snapshot.expired_at + delays_of(snapshot.tenant_id).undelete


def lifecycle_count(snapshots: Iterable[UUID]) -> dict[UUID, int]:
    """How many lifecycle records each of these snapshots has in the home store: the receipt's, and what came after."""
    pks = list(snapshots)
    rows = LifecycleEntry.objects.filter(snapshot_id__in=pks, number__isnull=False).order_by()
    newest = dict(rows.values_list("snapshot_id").annotate(newest=Max("number")))
    return {pk: newest.get(pk, 1) for pk in pks}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a snapshot stays, or that nothing keeps it; and what is announced for its series."""

    decision: Decision
    rules: Rules
    pending: Rules | None
    takes_effect_at: datetime | None


def verdict_of(snapshot: Snapshot, now: datetime | None = None) -> Verdict | None:
    """What retention says of a snapshot now; None for one that has expired. Call it in a scope that sees its tenant."""
    judge = Judge(snapshot.tenant_id, now or timezone.now(), [snapshot.machine_id])
    for judged in judge.machine(snapshot.machine):
        for decision in judged.decisions:
            if decision.facts.id == snapshot.pk:
                standing = judge.standings.get((snapshot.machine_id, judged.policy_id), Standing())
                return Verdict(decision, judged.rules, standing.pending, standing.takes_effect_at)
    return None


def announced_for(tenant_id: UUID, policy_id: UUID) -> tuple[datetime | None, int]:
    """When shorter rules of a policy take effect first, and on how many machines that is announced."""
    standings = [one for (_, policy), one in standings_of(tenant_id).items() if policy == policy_id and one.pending]
    return min((one.takes_effect_at for one in standings if one.takes_effect_at), default=None), len(standings)
