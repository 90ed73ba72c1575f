"""Reading policies and to whom they are assigned. What they come to on a machine: effective.py."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from operator import itemgetter
from typing import Any
from uuid import UUID

from django.db.models import Case, Count, IntegerField, Min, OuterRef, QuerySet, Subquery, Value, When

from .models import Assignment, Plan, Policy

SHOWN_PLACES = 4


def with_next_run(policies: QuerySet[Policy]) -> QuerySet[Any]:
    """Policies with `machine_count` (machines with a plan) and `next_run_at` (the first of them; None: none)."""
    plans = Plan.objects.filter(policy=OuterRef("pk")).order_by().values("policy")
    return policies.annotate(
        machine_count=Subquery(plans.annotate(found=Count("pk")).values("found"), output_field=IntegerField()),
        next_run_at=Subquery(plans.annotate(found=Min("next_run_at")).values("found")),
    )


def assignments_of(policy: Policy) -> QuerySet[Any]:
    """A policy's assignments from far to near: the tenant, groups by rank, machines by name."""
    depth = Case(When(machine__isnull=False, then=Value(2)), When(group__isnull=False, then=Value(1)), default=Value(0))
    rows = Assignment.objects.filter(policy=policy).select_related("group", "machine")
    return rows.annotate(depth=depth).order_by("depth", "group__rank", "group__name", "machine__name")


def places_of(policies: Iterable[Policy]) -> dict[UUID, list[str]]:
    """To whom each policy is assigned, in words, where it does not apply last; one query for all of them."""
    found: dict[UUID, list[tuple[bool, bool, str]]] = defaultdict(list)
    rows = Assignment.objects.filter(policy__in=[policy.pk for policy in policies])
    names = rows.order_by("group__rank", "group__name", "machine__name").values_list(
        "policy_id", "group__name", "machine__name", "group_id", "machine_id", "excluded"
    )
    for policy_id, group, machine, group_id, machine_id, excluded in names:
        place = f"machine {machine}" if machine_id else f"group {group}" if group_id else "the whole tenant"
        found[policy_id].append((excluded, bool(group_id or machine_id), place))
    return {policy_id: [f"not {place}" if out else place for out, _, place in sorted(rows, key=itemgetter(0, 1))]
            for policy_id, rows in found.items()}  # fmt: skip


def machines_under(policy: Policy, limit: int = 50) -> list[Any]:
    """The plans of a policy with their machines, the next due first; at most `limit`."""
    rows = Plan.objects.filter(policy=policy).select_related("machine")
    return list(rows.order_by("next_run_at", "machine__name")[:limit])
