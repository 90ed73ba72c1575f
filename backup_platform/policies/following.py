"""Policies that wait for each other: the one waited for must exist, and no circle may arise."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from backup_platform.tenants.models import Tenant

from .errors import Fault, PolicyRefused
from .models import Assignment, Policy

AFTER = "schedule.after_policy"


def check_following(policy: Policy, values: Mapping[str, Any]) -> None:
    """Raise `PolicyRefused` if `values` (a policy's settings or overrides of it) wait for a policy that does not
    exist in its tenant, or would close a circle.

    Call it inside the tenant's scope and the transaction that writes: the tenant's row is locked first, so that two
    people cannot close a circle from both ends at once.
    """
    wanted = values.get(AFTER)
    if not wanted:
        return
    # Without touching the key: rows that refer to the tenant may be added meanwhile.
    Tenant.objects.select_for_update(no_key=True).get(pk=policy.tenant_id)
    names = dict(Policy.objects.values_list("pk", "name"))
    if UUID(wanted) not in names:
        raise _refused("There is no such policy; choose one that exists, or leave it empty.")
    names[policy.pk] = policy.name
    circle = _way(UUID(wanted), policy.pk, _edges(policy.pk))
    if circle:
        words = " waits for ".join(f"“{names[step]}”" for step in (policy.pk, *circle))
        raise _refused(f"These policies would wait for each other for ever: {words}.")


def _refused(sentence: str) -> PolicyRefused:
    return PolicyRefused(sentence, [Fault(AFTER, sentence)])


def _edges(leaving: UUID) -> dict[UUID, set[UUID]]:
    """Whom each policy waits for, anywhere. What the policy that is being changed waits for now does not matter."""
    edges: dict[UUID, set[UUID]] = defaultdict(set)
    key = f"settings__{AFTER}"
    for policy_id, after in Policy.objects.exclude(pk=leaving).values_list("pk", key):
        if after:
            edges[policy_id].add(UUID(after))
    for policy_id, after in Assignment.objects.values_list("policy_id", f"overrides__{AFTER}"):
        if after:
            edges[policy_id].add(UUID(after))
    return edges


def _way(start: UUID, goal: UUID, edges: Mapping[UUID, set[UUID]]) -> list[UUID]:
    """A shortest way from start to goal, both included; empty if there is none."""
    ways, seen = [[start]], {start}
    while ways:
        way = ways.pop(0)
        if way[-1] == goal:
            return way
        for step in sorted(edges.get(way[-1], set()) - seen):
            seen.add(step)
            ways.append([*way, step])
    return []


def waiting_for(policy: Policy) -> list[str]:
    """The names of the policies that wait for this one, by name."""
    wanted = str(policy.pk)
    own = Policy.objects.filter(**{f"settings__{AFTER}": wanted}).values_list("name", flat=True)
    here = Assignment.objects.filter(**{f"overrides__{AFTER}": wanted}).values_list("policy__name", flat=True)
    return sorted({*own, *here})
