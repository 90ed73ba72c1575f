"""Expiry as jobs: one a tenant or a machine, asked for by a tick and by whoever changed something."""

from __future__ import annotations

import logging
from datetime import timedelta
from time import monotonic
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from backup_platform.catalog.models import Snapshot
from backup_platform.fleet.models import Machine
from backup_platform.jobs.models import Job, JobKind
from backup_platform.jobs.running import StillWaiting
from backup_platform.jobs.services import enqueue, renew
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import without_tenant_scope

from . import lifecycle
from .attributing import note_policies
from .clocks import rest_in_force, watch_clock
from .ending import end_holds, mark_covered
from .expiring import expire_machine
from .following import follow_policies
from .models import ExpiryStop, LifecycleEntry, RetentionRules, Term
from .rules import rules_of

logger = logging.getLogger(__name__)

EVERY = timedelta(hours=1)
"""How often a tenant's snapshots are looked at when nobody asks."""
TURN_SECONDS = 300.0
"""After so long a run gives its turn back; it goes on where it was."""


def tick() -> None:
    """Ask for what is due: tenants that were not looked at for an hour, rules that take effect, records to write."""
    now = timezone.now()
    watch_clock(now)
    with without_tenant_scope("retention concerns every tenant"):
        fresh = RetentionRules.objects.filter(looked_at__gt=now - EVERY).values("tenant")
        due = set(Tenant.objects.filter(snapshots_exist()).exclude(pk__in=fresh).values_list("pk", flat=True))
        effective = Term.objects.filter(takes_effect_at__lte=now)
        due |= set(effective.order_by().values_list("tenant_id", flat=True).distinct())
        unwritten = LifecycleEntry.objects.filter(number__isnull=True).order_by()
        waiting = list(unwritten.values_list("tenant_id", flat=True).distinct())
        for tenant_id in sorted(due):
            ask_tenant(tenant_id)
        for tenant_id in waiting:
            enqueue(JobKind.EXPIRE, subject=f"records:{tenant_id}", tenant_id=tenant_id)


def snapshots_exist() -> Q:
    """The condition on tenants that have snapshots, or rules of retention already."""
    have = Snapshot.objects.order_by().values("tenant").distinct()
    return Q(pk__in=have) | Q(pk__in=Term.objects.order_by().values("tenant").distinct())


def ask_tenant(tenant_id: UUID) -> None:
    """Have a tenant's snapshots looked at now."""
    enqueue(JobKind.EXPIRE, subject=f"tenant:{tenant_id}", tenant_id=tenant_id)


def ask_machine(machine: Machine) -> None:
    """Have one machine's snapshots looked at now."""
    enqueue(JobKind.EXPIRE, subject=f"machine:{machine.pk}", tenant_id=machine.tenant_id)


def expire_of_tenant(job: Job) -> dict[str, Any]:
    """The work of an expire job of a tenant: bring what is in force up to date, then machine by machine."""
    tenant_id, now = UUID(job.subject.partition(":")[2]), timezone.now()
    if rest := rest_in_force(now):
        return {"rests": rest}
    counts = _counts(job)
    if not counts["after"]:
        prepare(tenant_id)
        RetentionRules.objects.update_or_create(tenant_id=tenant_id, defaults={"looked_at": now})
    end = monotonic() + TURN_SECONDS
    for machine in _machines(tenant_id, counts["after"]):
        expire_all(machine, counts)
        counts["after"] = str(machine.pk)
        if not renew(job, counts):
            raise StillWaiting("Somebody else has taken this run over.")
        if monotonic() > end:
            raise StillWaiting("The run goes on in a moment.")
    return {**counts, "after": ""}


def expire_of_machine(job: Job) -> dict[str, Any]:
    """The work of an expire job of a machine."""
    if rest := rest_in_force():
        return {"rests": rest}
    counts = {"expired": 0, "stopped": 0}
    machine = Machine.objects.filter(pk=UUID(job.subject.partition(":")[2])).first()
    if machine is not None:
        prepare(machine.tenant_id)
        expire_all(machine, counts)
    return counts


def write_records(job: Job) -> dict[str, Any]:
    """The work of a job that writes lifecycle records."""
    tenant_id = UUID(job.subject.partition(":")[2])
    end = monotonic() + TURN_SECONDS

    def heartbeat() -> None:
        if monotonic() > end:
            raise StillWaiting("More records are written in a moment.")

    return {"written": lifecycle.write_due(tenant_id, heartbeat)}


def prepare(tenant_id: UUID) -> None:
    """Before anything expires: whose each snapshot is, which rules are in force, which holds have ended."""
    note_policies(tenant_id)
    follow_policies(tenant_id, timezone.now())
    end_holds(tenant_id, timezone.now())
    mark_covered(tenant_id, timezone.now())


def expire_all(machine: Machine, counts: dict[str, Any]) -> None:
    """Let everything of a machine expire that nothing keeps, lot by lot."""
    while True:
        found = expire_machine(machine, timezone.now())
        counts["expired"] += found.snapshots
        counts["stopped"] += found.stopped
        if not found.more or not found.snapshots:
            return


def _counts(job: Job) -> dict[str, Any]:
    """How far an interrupted run came."""
    kept = job.progress if isinstance(job.progress, dict) else {}
    return {"expired": int(kept.get("expired", 0)), "stopped": int(kept.get("stopped", 0)),
            "after": str(kept.get("after", ""))}  # fmt: skip


def _machines(tenant_id: UUID, after: str) -> list[Machine]:
    """The machines that have a rule which lets something expire, or a stopped run, in the order of their ids."""
    terms = Term.objects.filter(tenant_id=tenant_id).values_list("machine_id", "in_force")
    wanted = {machine_id for machine_id, in_force in terms if not rules_of(in_force).keeps_everything}
    stops = ExpiryStop.objects.filter(tenant_id=tenant_id, closed_at__isnull=True)
    wanted |= set(stops.values_list("machine_id", flat=True))
    machines = Machine.objects.filter(tenant_id=tenant_id, pk__in=wanted).order_by("pk")
    return list(machines.filter(pk__gt=UUID(after)) if after else machines)
