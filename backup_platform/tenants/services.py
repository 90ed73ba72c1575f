"""Making tenants and giving people a place in them."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from backup_platform.audit.services import record as record_audit

from .access import Actor, check
from .errors import TenantRefused
from .models import Member, Role, Tenant, User
from .scope import tenant_scope, without_tenant_scope


def create_tenant(name: str, *, actor: str) -> Tenant:
    """Make a tenant. Raises `TenantRefused` for a name that is taken or not a name."""
    tenant = Tenant(name=name.strip())
    with without_tenant_scope("a tenant is made, and its name must be free among all"):
        try:
            tenant.full_clean(validate_unique=False, validate_constraints=False)
            with transaction.atomic():
                tenant.save(force_insert=True)
                record_audit("tenant.created", actor=actor, object=f"tenant:{tenant.pk}", tenant=tenant, name=name)
        except ValidationError as fault:
            raise TenantRefused(f"{name!r} is not a tenant's name: {' '.join(fault.messages)}") from None
        except IntegrityError:
            raise TenantRefused(f"There is already a tenant named {name!r}.") from None
    return tenant


def add_member(tenant: Tenant, user: User, role: Role, *, actor: str) -> Member:
    """Give a user a role in a tenant, or change it."""
    with tenant_scope(tenant), transaction.atomic():
        member: Member
        member, _ = Member.objects.update_or_create(user=user, tenant=tenant, defaults={"role": role})
        record_audit(
            "member.set", actor=actor, object=f"user:{user.pk}", tenant=tenant, name=user.get_username(), role=role
        )
    return member


def remove_member(member: Member, *, actor: str) -> None:
    """Take a user's place in a tenant away."""
    with tenant_scope(member.tenant_id), transaction.atomic():
        name = member.user.get_username()
        member.delete()
        record_audit("member.removed", actor=actor, object=f"user:{member.user_id}", tenant=member.tenant_id, name=name)


def set_requires_totp(by: Actor, tenant: Tenant, *, wanted: bool) -> None:
    """Ask a second factor of a tenant's members, or no longer; audited. Raises `Forbidden`, `OutOfReach`."""
    with tenant_scope(tenant), transaction.atomic():
        check(by, "tenant.manage", tenant)
        before = Tenant.objects.select_for_update().values_list("requires_totp", flat=True).get(pk=tenant.pk)
        Tenant.objects.filter(pk=tenant.pk).update(requires_totp=wanted)
        record_audit(
            "tenant.changed",
            actor=by.name,
            object=f"tenant:{tenant.pk}",
            tenant=tenant,
            before={"requires_totp": before},
            after={"requires_totp": wanted},
        )
