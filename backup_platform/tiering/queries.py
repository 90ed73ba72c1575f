"""Where stored bytes are, and how far each target is behind: for pages, the API and commands."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from django.db.models import Exists, OuterRef, Sum
from django.utils import timezone

from backup_platform.catalog.models import Copy, CopyState, Pack, PackPlace
from backup_platform.catalog.places import HERE, single_bytes
from backup_platform.jobs.models import UNFINISHED, Job, JobKind
from backup_platform.targets.models import Target, TargetState
from backup_platform.targets.queries import targets_of
from backup_platform.tenants.scope import tenant_scope
from backup_platform.tiering.lag import Lag, figures, lag_for_tenant


@dataclass(frozen=True, slots=True)
class AtTarget:
    """A target, as one tenant sees it."""

    target: UUID
    name: str
    shared: bool
    """It is the platform's, not the tenant's own."""
    state: str
    away_since: str | None
    copies: int
    bytes: int
    damaged: int
    cost: str | None
    currency: str
    lacking_packs: int
    lacking_bytes: int
    lag_seconds: float


@dataclass(frozen=True, slots=True)
class Storage:
    """Where a tenant's packs are."""

    packs: int
    bytes: int
    here_packs: int
    here_bytes: int
    remote_packs: int
    single_bytes: int
    """Bytes that are in one place only: one fault may take them."""
    waiting_jobs: int
    targets: list[AtTarget]

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


def storage_of(tenant_id: UUID) -> Storage:
    """Everything that is known of where a tenant's packs are."""
    with tenant_scope(tenant_id):
        packs = Pack.objects.filter(place__in=(*HERE, PackPlace.REMOTE))
        here = packs.filter(place__in=HERE)
        lags = lag_for_tenant(tenant_id)
        shown = [t for t in targets_of(tenant_id) if not t.home and t.state != TargetState.RETIRED]
        return Storage(
            packs=packs.count(),
            bytes=packs.aggregate(bytes=Sum("bytes"))["bytes"] or 0,
            here_packs=here.count(),
            here_bytes=here.aggregate(bytes=Sum("bytes"))["bytes"] or 0,
            remote_packs=packs.filter(place=PackPlace.REMOTE).count(),
            single_bytes=single_bytes(),
            waiting_jobs=Job.objects.filter(kind=JobKind.TIER, state__in=UNFINISHED).count(),
            targets=[_at(target, tenant_id, lags.get(target.pk, Lag(0, 0, None))) for target in shown],
        )


def _at(target: Target, tenant_id: UUID, lag: Lag) -> AtTarget:
    there = figures(target, tenant_id)
    return AtTarget(
        target=target.pk, name=target.name, shared=target.tenant_id is None, state=target.state,
        away_since=target.away_since.isoformat() if target.away_since else None,
        copies=there.copies, bytes=there.bytes, damaged=there.damaged,
        cost=None if there.cost is None else f"{there.cost:.2f}", currency=target.currency,
        lacking_packs=lag.packs, lacking_bytes=lag.bytes, lag_seconds=round(lag.seconds(timezone.now()), 1),
    )  # fmt: skip


def degraded(tenant_id: UUID) -> list[str]:
    """What does not work as it should, a sentence each; backups and restores go on meanwhile as far as they can."""
    lost = lost_packs(tenant_id)
    sentences = [
        f"{target.name} has not answered since {target.away_since:%Y-%m-%d %H:%M} UTC: new packs wait for it, and what "
        "lies only there cannot be restored."
        for target in targets_of(tenant_id)
        if target.away_since and target.state != TargetState.RETIRED
    ]
    if lost:
        sentences.append(f"{lost} packs have no good copy at any target: their snapshots cannot be restored whole.")
    return sentences


def lost_packs(tenant_id: UUID) -> int:
    """Packs that have left this host and have no good copy anywhere."""
    with tenant_scope(tenant_id):
        good = Copy.objects.filter(pack=OuterRef("pk"), state=CopyState.GOOD)
        return Pack.objects.filter(~Exists(good), place=PackPlace.REMOTE).count()
