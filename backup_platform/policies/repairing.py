"""Plans that nobody told of a change: found by looking at rows, and made again."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Exists, F, OuterRef, Q
from django.utils import timezone

from backup_platform.fleet.models import Machine, MachineState
from backup_platform.tenants.scope import without_tenant_scope

from .models import Assignment, Plan
from .planned import basis, zone_of
from .planning import replan

logger = logging.getLogger(__name__)

AGE = timedelta(days=1)
"""An older plan is made again, whatever is known: so nothing stays wrong for longer."""
NEWCOMERS = timedelta(minutes=15)
MOST = 10_000
SLEEPERS = Q(next_run_at=None, fault="", machine__paused_at=None, policy__paused_at=None) & ~Q(
    shared__values__contains={"schedule.kind": "none"}
)
"""Nothing stands in their way, and yet they are never due: somebody resumed them and did not say so."""
RESTLESS = Q(next_run_at__isnull=False) & (Q(machine__paused_at__isnull=False) | Q(policy__paused_at__isnull=False))


def repair(now: datetime | None = None) -> int:
    """Plan again what is stale: old plans, other defaults, a machine's new zone, pauses and machines that nobody
    reported. How many plans were looked at. Repeating it is harmless."""
    moment = now or timezone.now()
    count = 0
    with without_tenant_scope("the repair looks after every tenant's plans"):
        for tenant_id, machines in _stale(moment).items():
            count += replan(tenant_id, machines=None if None in machines else _known(machines), now=now)
    if count:
        logger.info("Plans were made again.", extra={"count": count})
    return count


def _known(machines: set[UUID | None]) -> list[UUID]:
    return sorted(machine for machine in machines if machine is not None)


def _stale(now: datetime) -> dict[UUID, set[UUID | None]]:
    """The machines to plan for, by tenant; None among them: all of the tenant's."""
    found: defaultdict[UUID, set[UUID | None]] = defaultdict(set)
    old = Plan.objects.filter(Q(computed_at__lt=now - AGE) | ~Q(basis=basis()))
    for tenant_id in old.values_list("tenant_id", flat=True).distinct():
        found[tenant_id].add(None)
    for tenant_id in _never_planned(now):
        found[tenant_id].add(None)
    for look in (_told_otherwise(), _moved(), _newcomers(now)):
        for tenant_id, machine_id in look:
            found[tenant_id].add(machine_id)
    return found


def _never_planned(now: datetime) -> Iterator[UUID]:
    """Tenants of fresh assignments without any plan."""
    fresh = Assignment.objects.filter(policy__changed_at__gt=now - NEWCOMERS, excluded=False)
    plans = Plan.objects.filter(tenant_id=OuterRef("tenant_id"))
    yield from fresh.filter(~Exists(plans)).values_list("tenant_id", flat=True).distinct()


def _told_otherwise() -> Iterator[tuple[UUID, UUID]]:
    wrong = Plan.objects.filter(SLEEPERS | RESTLESS | ~Q(machine__state=MachineState.ACTIVE))
    yield from wrong.values_list("tenant_id", "machine_id").distinct()[:MOST]


def _moved() -> Iterator[tuple[UUID, UUID]]:
    """Machines that have another zone than their plans."""
    of_machines = Plan.objects.filter(shared__values__contains={"schedule.zone": "machine"})
    others = of_machines.exclude(zone=F("machine__zone")).values_list(
        "tenant_id", "machine_id", "machine__zone", "zone"
    )
    for tenant_id, machine_id, says, planned in others.distinct()[:MOST]:
        if zone_of({}, says) != planned:
            yield tenant_id, machine_id


def _newcomers(now: datetime) -> Iterator[tuple[UUID, UUID]]:
    """Machines that enrolled just now and have no plan."""
    fresh = Machine.objects.filter(enrolled_at__gt=now - NEWCOMERS, state=MachineState.ACTIVE)
    planned = Plan.objects.filter(machine_id=OuterRef("pk"))
    ruled = Assignment.objects.filter(tenant_id=OuterRef("tenant_id"))
    yield from fresh.filter(~Exists(planned), Exists(ruled)).values_list("tenant_id", "pk")[:MOST]
