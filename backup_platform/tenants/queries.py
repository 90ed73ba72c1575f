"""Reading tenants and memberships."""

from __future__ import annotations

from uuid import UUID

from .errors import TenantUnknown
from .models import Member, Tenant, User
from .scope import without_tenant_scope

SHOWN_NAMES = 10


def tenant_named(name: str) -> Tenant:
    """The tenant with this name. Raises `TenantUnknown`, which names some that exist: for operators only."""
    with without_tenant_scope("an operator names the tenant to work on"):
        tenant: Tenant | None = Tenant.objects.filter(name=name).first()
        if tenant is None:
            raise TenantUnknown(name, list(Tenant.objects.values_list("name", flat=True)[:SHOWN_NAMES]))
    return tenant


def memberships_of(user: User) -> list[Member]:
    """A user's places, with their tenants, roles and limits, by the tenants' names."""
    with without_tenant_scope("a user's own places say which tenants they may open"):
        places = Member.objects.filter(user=user).select_related("tenant", "custom_role").prefetch_related("limits")
        return list(places.order_by("tenant__name"))


def all_tenants(limit: int = 500) -> list[Tenant]:
    """The first tenants by name, for platform staff to choose from."""
    with without_tenant_scope("platform staff choose a tenant"):
        return list(Tenant.objects.order_by("name")[:limit])


def tenant_with_id(tenant_id: UUID) -> Tenant | None:
    """A tenant by id; None when there is none."""
    with without_tenant_scope("a chosen tenant is looked up"):
        found: Tenant | None = Tenant.objects.filter(pk=tenant_id).first()
    return found
