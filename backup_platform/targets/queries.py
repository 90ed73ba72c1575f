"""Reading targets. Shared ones belong to no tenant, so these questions open the scope themselves."""

from __future__ import annotations

from uuid import UUID

from django.db.models import Case, IntegerField, Q, Value, When

from backup_platform.targets.models import Target, TargetState
from backup_platform.tenants.scope import ScopeError, current_tenant_id, has_scope, without_tenant_scope

ORDER = (TargetState.ACTIVE, TargetState.NEW, TargetState.PAUSED, TargetState.DRAINING, TargetState.RETIRED)


def targets_of(tenant_id: UUID) -> list[Target]:
    """A tenant's own targets and the shared ones, the home directory's row among them: active first, then by name.

    Raises ScopeError inside another tenant's scope.
    """
    if has_scope() and current_tenant_id() not in (None, tenant_id):
        raise ScopeError("Another tenant's targets were asked for in this tenant's scope.")
    return own_and_shared(tenant_id)


def own_and_shared(tenant_id: UUID | None) -> list[Target]:
    """The same for a target's owner; None: the platform, whose targets are shared. For services, without a scope."""
    places = Case(*(When(state=state, then=Value(place)) for place, state in enumerate(ORDER)),
                  default=Value(len(ORDER)), output_field=IntegerField())  # fmt: skip
    with without_tenant_scope("shared targets belong to no tenant"):
        mine = Q(tenant=tenant_id) | Q(tenant__isnull=True) if tenant_id else Q(tenant__isnull=True)
        return list(Target.objects.filter(mine).order_by(places, "name", "id"))


def target_by_id(target_id: UUID) -> Target:
    """A target by its id, in a tenant's scope also a shared one. Target.DoesNotExist, for another tenant's too."""
    tenant_id = current_tenant_id() if has_scope() else None
    with without_tenant_scope("a shared target belongs to no tenant"):
        found = Target.objects.get(pk=target_id)
    if tenant_id is not None and found.tenant_id not in (None, tenant_id):
        raise Target.DoesNotExist
    return found


def all_targets() -> list[Target]:
    """Every target of the platform, for sweeps; without the retired ones."""
    with without_tenant_scope("a sweep goes over every tenant's targets"):
        return list(Target.objects.exclude(state=TargetState.RETIRED).order_by("name", "id"))


def home_row() -> Target | None:
    """The row of the home directory, if it was made already."""
    with without_tenant_scope("the home directory belongs to no tenant"):
        return Target.objects.filter(home=True).first()
