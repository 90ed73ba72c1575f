"""Plans follow policies, assignments, groups and machines: one for each machine that a policy applies to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from backup_platform.fleet.models import MachineState
from backup_platform.tenants.scope import without_tenant_scope

from .effective import Application, Effective, effective_in_bulk
from .plan_rows import Row, forget, forget_unshared, lock_tenant, standing_of, write
from .planned import Planned, Planner, Settings, Standing, basis, hindrance, key_of, schedule_text, zone_of

__all__ = ["hindrance", "replan"]

WHY = "plans follow from all of a tenant's policies and machines; every query names the tenant"
Key = tuple[UUID, UUID]


def replan(
    tenant_id: UUID,
    policies: Iterable[UUID] | None = None,
    machines: Iterable[UUID] | None = None,
    *,
    now: datetime | None = None,
) -> int:
    """Make, change and remove a tenant's plans so that they say what holds now; how many there are of those asked for.

    Without `policies`: of all; without `machines`: of all. Call it in the transaction that changed something: until
    that ends, nobody else plans for the tenant. A run that is due and not taken yet stays due. The number of
    statements does not grow with the number of plans, but for one in a thousand.
    """
    chosen = None if policies is None else list(policies)
    boxes = None if machines is None else list(machines)
    moment = now or timezone.now()
    with transaction.atomic(), without_tenant_scope(WHY):
        lock_tenant(tenant_id)
        applying = [one for one in effective_in_bulk(tenant_id, chosen, boxes) if _applies(one)]
        standing = standing_of(tenant_id, chosen, boxes)
        rows = list(_rows(applying, {key: found for key, (_, found) in standing.items()}, moment))
        kept = {(row.policy_id, row.machine_id) for row in rows}
        forget(tenant_id, [pk for key, (pk, _) in standing.items() if key not in kept])
        write(tenant_id, rows, basis(), moment)
        if chosen is None and boxes is None:
            forget_unshared(tenant_id)
    return len(rows)


def _applies(one: Application) -> bool:
    return one.applies and one.machine.state == MachineState.ACTIVE


def _rows(applying: Sequence[Application], standing: Mapping[Key, Standing], now: datetime) -> Iterator[Row]:
    planner, texts = Planner(now), _Texts()
    for one in applying:
        policy, machine = one.policy, one.machine
        settings, whole, schedule = texts.of(one.settings)
        zone = zone_of(settings, machine.zone)
        if policy.paused_at or machine.paused_at:
            planned = Planned(None)
        else:
            known = standing.get((policy.pk, machine.pk), Standing())
            planned = planner.plan(settings, zone, key_of(policy.pk, machine.pk), known, schedule)
        yield Row(policy.pk, machine.pk, whole, schedule, planned.next_run_at, planned.fault, zone[:64])


class _Texts:
    """Settings as JSON, made once for all the machines that share them."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Settings, str, str]] = {}
        self._held: list[Mapping[str, Effective]] = []

    def of(self, shared: Mapping[str, Effective]) -> tuple[Settings, str, str]:
        """The plain values, their JSON, and the JSON of those that decide times."""
        found = self._known.get(id(shared))
        if found is None:
            self._held.append(shared)  # while it is held, nothing else can get its id
            plain = {name: one.value for name, one in shared.items()}
            found = plain, json.dumps(plain, sort_keys=True), schedule_text(plain)
            self._known[id(shared)] = found
        return found
