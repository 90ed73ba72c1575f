"""What counts on a machine, and where each value comes from.

Nearest wins: the machine's own assignment, then its groups' (lower rank first, then name), then the tenant's, then the
policy's own settings, then the registry's defaults. Whether a policy applies at all is said by the nearest assignment.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from backup_platform.fleet.models import GroupMembership, Machine, MachineState
from backup_platform.tenants.scope import ScopeError, without_tenant_scope

from .models import Assignment, Policy
from .registry import SETTINGS, defaults

WHY = "a policy's effect follows from all of its tenant's assignments; every query names the tenant"


@dataclass(frozen=True)
class Effective:
    """A setting's value that counts, and whence it came: `default`, `policy Documents`, `tenant`, `group Servers`,
    `machine`."""

    value: Any
    origin: str


@dataclass(frozen=True)
class Layer:
    """What one assignment says."""

    origin: str
    excluded: bool
    overrides: Mapping[str, Any]


@dataclass(frozen=True)
class Resolved:
    """What layers come to."""

    applies: bool
    because: str
    """The origin of the assignment that decided; empty without any."""
    settings: dict[str, Effective]


@dataclass(frozen=True)
class Application:
    """What a policy comes to on a machine. `settings` may be shared between machines: not to be changed."""

    policy: Policy
    machine: Machine
    applies: bool
    because: str
    settings: dict[str, Effective]


def resolve(policy_name: str, settings: Mapping[str, Any], layers: Sequence[Layer]) -> Resolved:
    """Overlay a policy's settings by its assignments' layers, the nearest first."""
    found = {name: Effective(value, "default") for name, value in defaults().items()}
    _overlay(found, settings, f"policy {policy_name}")
    for layer in reversed(layers):
        if not layer.excluded:
            _overlay(found, layer.overrides, layer.origin)
    nearest = layers[0] if layers else None
    return Resolved(
        applies=nearest is not None and not nearest.excluded,
        because=nearest.origin if nearest else "",
        settings=found,
    )


def _overlay(found: dict[str, Effective], values: Mapping[str, Any], origin: str) -> None:
    for name, value in values.items():
        if name in SETTINGS:  # a name that an older version knew says nothing any more
            found[name] = Effective(value, origin)


def effective(policy: Policy, machine: Machine) -> dict[str, Effective]:
    """Every setting of a policy as it counts on a machine, whether or not the policy applies there."""
    return application_of(policy, machine).settings


def application_of(policy: Policy, machine: Machine) -> Application:
    """What one policy comes to on one machine; two queries. Raises `ScopeError` if they are of two tenants."""
    if policy.tenant_id != machine.tenant_id:
        raise ScopeError("A policy cannot be applied to a machine of another tenant.")
    return next(_applications([policy], [machine], _Layers(policy.tenant_id, [policy.pk])))


def effective_many(
    policies: Iterable[Policy], machines: Iterable[Machine]
) -> dict[tuple[UUID, UUID], dict[str, Effective]]:
    """The settings of each policy on each machine that it applies to; what is absent does not apply.

    All of one tenant; two queries, whatever the numbers. Maps may be shared: not to be changed.
    """
    rows, boxes = list(policies), list(machines)
    tenants = {row.tenant_id for row in rows} | {box.tenant_id for box in boxes}
    if len(tenants) > 1:
        raise ScopeError("Policies and machines of several tenants cannot be joined.")
    if not rows or not boxes:
        return {}
    found = _applications(rows, boxes, _Layers(tenants.pop(), [row.pk for row in rows]))
    return {(one.policy.pk, one.machine.pk): one.settings for one in found if one.applies}


def effective_in_bulk(
    tenant_id: UUID, policies: Sequence[UUID] | None = None, machines: Sequence[UUID] | None = None
) -> Iterator[Application]:
    """What each policy comes to on each machine of a tenant, applying or not; four queries, whatever the numbers.

    Without `machines`: all active ones; without `policies`: all.
    """
    with without_tenant_scope(WHY):
        rows = Policy.objects.filter(tenant_id=tenant_id)
        boxes = Machine.objects.filter(tenant_id=tenant_id)
        boxes = boxes.filter(state=MachineState.ACTIVE) if machines is None else boxes.filter(pk__in=machines)
        found = list(rows if policies is None else rows.filter(pk__in=policies))
        light = list(boxes.only("pk", "tenant_id", "name", "state", "zone", "paused_at").order_by("name"))
    layers = _Layers(tenant_id, [policy.pk for policy in found])
    yield from _applications(found, light, layers)


def applying_policies(machine: Machine) -> list[Application]:
    """Every policy that applies to a machine, by name; three queries."""
    with without_tenant_scope(WHY):
        policies = list(Policy.objects.filter(tenant_id=machine.tenant_id).order_by("name", "pk"))
    layers = _Layers(machine.tenant_id, [policy.pk for policy in policies])
    return [one for one in _applications(policies, [machine], layers) if one.applies]


def inherited_at(place: Assignment) -> dict[str, Effective]:
    """What would count at an assignment's place if it overrode nothing: from the policy, the tenant and, for a
    machine, its groups."""
    layers = _Layers(place.tenant_id, [place.policy_id])
    rows = [row for row in layers.for_machine(place.policy_id, place.machine_id) if row.pk != place.pk]
    if place.group_id:
        rows = [row for row in rows if not row.group_id]
    return resolve(place.policy.name, place.policy.settings, [layer_of(row) for row in rows]).settings


class _Layers:
    """A tenant's assignments and memberships, read once."""

    def __init__(self, tenant_id: UUID, policies: Sequence[UUID]) -> None:
        self.of_policy: dict[UUID, list[Assignment]] = defaultdict(list)
        self.groups: dict[UUID, set[UUID]] = defaultdict(set)
        with without_tenant_scope(WHY):
            rows = Assignment.objects.filter(tenant_id=tenant_id, policy_id__in=policies).select_related("group")
            for row in rows:
                self.of_policy[row.policy_id].append(row)
            named = {row.group_id for rows in self.of_policy.values() for row in rows if row.group_id}
            members = GroupMembership.objects.filter(tenant_id=tenant_id, group_id__in=named)
            for machine_id, group_id in members.values_list("machine_id", "group_id"):
                self.groups[machine_id].add(group_id)
        for assignments in self.of_policy.values():
            assignments.sort(key=_nearness)

    def for_machine(self, policy_id: UUID, machine_id: UUID | None) -> list[Assignment]:
        """The assignments that speak of this machine, the nearest first; of no machine: the tenant's."""
        groups = self.groups.get(machine_id, set()) if machine_id else set()
        return [row for row in self.of_policy.get(policy_id, ()) if _speaks_of(row, machine_id, groups)]


def _speaks_of(row: Assignment, machine_id: UUID | None, groups: set[UUID]) -> bool:
    if row.machine_id:
        return row.machine_id == machine_id
    return not row.group_id or row.group_id in groups


def _nearness(row: Assignment) -> tuple[int, int, str]:
    if row.machine_id:
        return (0, 0, "")
    return (1, row.group.rank, row.group.name) if row.group else (2, 0, "")


def layer_of(row: Assignment) -> Layer:
    """What an assignment says, with the fragment that names it as an origin."""
    origin = "machine" if row.machine_id else f"group {row.group.name}" if row.group else "tenant"
    return Layer(origin, row.excluded, row.overrides if isinstance(row.overrides, Mapping) else {})


def _applications(policies: Sequence[Policy], machines: Sequence[Machine], layers: _Layers) -> Iterator[Application]:
    """Machines with the same assignments share one result: a thousand in one group cost one resolution."""
    for policy in policies:
        known: dict[tuple[int, ...], Resolved] = {}
        for machine in machines:
            rows = layers.for_machine(policy.pk, machine.pk)
            key = tuple(row.pk for row in rows)
            if key not in known:
                known[key] = resolve(policy.name, policy.settings, [layer_of(row) for row in rows])
            found = known[key]
            yield Application(policy, machine, found.applies, found.because, found.settings)
