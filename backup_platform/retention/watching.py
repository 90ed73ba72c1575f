"""What retention hears of others: policies and assignments that change, policies that go."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models.signals import post_delete, post_save, pre_delete
from django.utils import timezone

from backup_platform.catalog.models import Snapshot, SnapshotState
from backup_platform.policies.errors import PolicyRefused
from backup_platform.policies.models import Assignment, Policy
from backup_platform.tenants.scope import without_tenant_scope

from .defaults import delays_of
from .models import Hold, Term
from .rows import standing_of, write_into
from .rules import PREFIX, joined
from .running import ask_tenant
from .shrinking import Standing, merged
from .turns import take_turn


def connect() -> None:
    """Listen. Called once, when the apps are ready."""
    post_save.connect(_policy_changed, Policy, dispatch_uid="retention.policy_saved")
    post_save.connect(_assignment_changed, Assignment, dispatch_uid="retention.assignment_saved")
    post_delete.connect(_assignment_changed, Assignment, dispatch_uid="retention.assignment_deleted")
    pre_delete.connect(_policy_goes, Policy, dispatch_uid="retention.policy_goes")


def _policy_changed(instance: Policy, **_: Any) -> None:
    _look_soon(instance.tenant_id, instance.settings)


def _assignment_changed(instance: Assignment, **_: Any) -> None:
    _look_soon(instance.tenant_id, instance.overrides)


def _look_soon(tenant_id: UUID, settings: Any) -> None:
    """Have what is in force follow within seconds. A look that gets lost is made up for within the hour."""
    if isinstance(settings, dict) and any(str(name).startswith(PREFIX) for name in settings):
        transaction.on_commit(lambda: _ask(tenant_id), robust=True)


def _ask(tenant_id: UUID) -> None:
    with without_tenant_scope("the tenant is named"):
        ask_tenant(tenant_id)


def _policy_goes(instance: Policy, **_: Any) -> None:
    """Snapshots of a policy that goes are as if made by hand. What was promised to them goes on for the usual delay."""
    with without_tenant_scope("the policy names its tenant"), transaction.atomic():
        take_turn(instance.tenant_id)
        hold = Hold.objects.filter(policy=instance, released_at__isnull=True).first()
        if hold is not None:
            raise PolicyRefused(f"The hold “{hold.case}” covers what this policy made; release it first.")
        there = Snapshot.objects.filter(policy=instance).exclude(state=SnapshotState.RECLAIMED).order_by()
        for machine_id in there.values_list("machine_id", flat=True).distinct():
            _hand_over(instance, machine_id)


def _hand_over(policy: Policy, machine_id: UUID) -> None:
    rows = Term.objects.select_for_update(of=("self",)).filter(machine_id=machine_id)
    theirs = rows.filter(policy=policy).first()
    row = rows.filter(policy=None).first()
    row = row or Term(tenant_id=policy.tenant_id, machine_id=machine_id, policy=None)
    before = standing_of(row) if row.pk else Standing()
    going = standing_of(theirs) if theirs else Standing()
    both = joined((before.in_force, going.in_force))
    pending = before.pending or before.in_force
    after = Standing(both, pending, timezone.now() + delays_of(policy.tenant_id).shrink,
                     merged(before.ages, going.ages))  # fmt: skip
    write_into(row, after).save()
