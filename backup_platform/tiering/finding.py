"""Targets by what people call them, and the targets that a rule may name."""

from __future__ import annotations

from uuid import UUID

from backup_platform.targets.models import Target, TargetState
from backup_platform.targets.queries import all_targets, targets_of
from backup_platform.tiering.errors import TieringRefused

USABLE = (TargetState.NEW, TargetState.ACTIVE, TargetState.PAUSED)
"""A rule may be made for a target that is not in use just now: nothing is copied by it before."""


def targets_for_rules(tenant_id: UUID | None) -> list[Target]:
    """The targets that a rule of a tenant may name; without a tenant, the shared ones."""
    found = targets_of(tenant_id) if tenant_id else [target for target in all_targets() if target.tenant_id is None]
    return [target for target in found if not target.home and target.state in USABLE]


def target_named(name: str, tenant_id: UUID | None) -> Target:
    """A target by name or id, the tenant's own before a shared one. TieringRefused with the names that there are."""
    found = targets_of(tenant_id) if tenant_id else [target for target in all_targets() if target.tenant_id is None]
    matching = [target for target in found if name in (target.name, str(target.pk))]
    if not matching:
        there = ", ".join(sorted(target.name for target in found if not target.home)) or "none yet"
        raise TieringRefused(f"There is no target named {name!r}. There are: {there}.")
    return min(matching, key=lambda target: target.tenant_id is None)
