"""What members of a tenant may do to each other: give places and roles, within what they hold themselves.

Three rules that no door can go around: nobody gives, takes or changes more than they hold; who is limited to machine
groups manages nobody; a tenant keeps at least one administrator of everything.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.apps import apps
from django.db import IntegrityError, transaction
from django.db.models.deletion import ProtectedError

from backup_platform.audit.services import record as record_audit

from .access import Actor, check, permissions_of
from .errors import PlaceRefused
from .models import CustomRole, Member, MemberGroup, Role, Tenant, User
from .permissions import BUILT_IN, PERMISSIONS, known
from .scope import tenant_scope

MAX_NAME = 60


def place_member(
    by: Actor,
    tenant: Tenant,
    user: User,
    *,
    role: Role = Role.VIEWER,
    custom_role: CustomRole | None = None,
    groups: Iterable[Any] = (),
) -> Member:
    """Give a person a place in a tenant, or change it; audited with before and after.

    `groups` are the MachineGroups that the person is limited to; none: all machines. Raises `Forbidden`, `OutOfReach`,
    `PlaceRefused`.
    """
    chosen = sorted({group.pk for group in groups})
    with tenant_scope(tenant), transaction.atomic():
        check(by, "members.manage", tenant)
        _lock(tenant)
        _check_same_tenant(tenant, custom_role, chosen)
        _check_holds(by, known(custom_role.permissions) if custom_role else BUILT_IN[role], "This role includes")
        old = Member.objects.select_related("custom_role").filter(user=user).first()
        before = _facts(old)
        if old is not None:
            _check_holds(by, permissions_of(old), f"{user.get_username()} may")
        member = _write_place(tenant, user, role, custom_role, chosen)
        if before["is admin"]:
            _check_admin_left(tenant)
        _note("member.set", by, member, before, _facts(member))
    return member


def _write_place(tenant: Tenant, user: User, role: Role, custom_role: CustomRole | None, groups: list[Any]) -> Member:
    member: Member
    values = {"role": role, "custom_role": custom_role}
    member, _ = Member.objects.update_or_create(user=user, tenant=tenant, defaults=values)
    MemberGroup.objects.filter(member=member).exclude(group_id__in=groups).delete()
    have = set(MemberGroup.objects.filter(member=member).values_list("group_id", flat=True))
    MemberGroup.objects.bulk_create([MemberGroup(member=member, group_id=pk) for pk in groups if pk not in have])
    return member


def remove_place(by: Actor, member: Member) -> None:
    """Take a person's place away; audited. Raises `Forbidden`, `OutOfReach`, `PlaceRefused`."""
    with tenant_scope(member.tenant_id), transaction.atomic():
        check(by, "members.manage", member)
        _lock(member.tenant)
        _check_holds(by, permissions_of(member), f"{member.user.get_username()} may")
        before = _facts(member)
        gone = Member(pk=member.pk, user=member.user, tenant_id=member.tenant_id)
        Member.objects.filter(pk=member.pk).delete()
        if before["is admin"]:
            _check_admin_left(member.tenant)
        _note("member.removed", by, gone, before, None)


def save_role(
    by: Actor, tenant: Tenant, name: str, permissions: Iterable[str], role: CustomRole | None = None
) -> CustomRole:
    """Make a custom role, or change `role`; audited. Its holders have the new permissions at their next request."""
    wanted, name = sorted(set(permissions)), name.strip()
    _check_role(name, wanted)
    with tenant_scope(tenant), transaction.atomic():
        check(by, "members.manage", role or tenant)
        before = _role_facts(CustomRole.objects.select_for_update().get(pk=role.pk)) if role else None
        _check_holds(by, frozenset(wanted) | frozenset(before["permissions"] if before else ()), "This role includes")
        saved = _write_role(tenant, name, wanted, role)
        record_audit("role.changed" if role else "role.created", actor=by.name, object=f"role:{saved.pk}",
                     tenant=tenant, before=before, after=_role_facts(saved))  # fmt: skip
    return saved


def _check_role(name: str, permissions: list[str]) -> None:
    if unknown := [one for one in permissions if one not in PERMISSIONS]:
        raise PlaceRefused(f"There is no permission {unknown[0]!r}.")
    if not name or len(name) > MAX_NAME:
        raise PlaceRefused(f"A role needs a name of 1 to {MAX_NAME} characters.")
    if name.casefold() in {label.casefold() for label in Role.labels}:
        raise PlaceRefused(f"{name} is the name of a built-in role. Choose another one.")


def _write_role(tenant: Tenant, name: str, permissions: list[str], role: CustomRole | None) -> CustomRole:
    values: dict[str, Any] = {"name": name, "permissions": permissions}
    try:
        with transaction.atomic():
            if role is None:
                made: CustomRole = CustomRole.objects.create(tenant=tenant, **values)
                return made
            CustomRole.objects.filter(pk=role.pk).update(**values)
    except IntegrityError:
        raise PlaceRefused(f"There is a role named {name} already. Choose another name.") from None
    changed: CustomRole = CustomRole.objects.get(pk=role.pk)
    return changed


def delete_role(by: Actor, role: CustomRole) -> None:
    """Delete a custom role that nobody has any more; audited."""
    with tenant_scope(role.tenant_id), transaction.atomic():
        check(by, "members.manage", role)
        _check_holds(by, known(role.permissions), "This role includes")
        before, key = _role_facts(role), role.pk
        try:
            CustomRole.objects.filter(pk=key).delete()
        except ProtectedError:
            raise PlaceRefused(f"{role.name} is still somebody's role. Give them another one first.") from None
        record_audit("role.deleted", actor=by.name, object=f"role:{key}", tenant=role.tenant_id, before=before)


def _lock(tenant: Tenant) -> None:
    """One change of people at a time: two administrators who demote each other at once must not both succeed."""
    Tenant.objects.select_for_update().get(pk=tenant.pk)


def _check_same_tenant(tenant: Tenant, custom_role: CustomRole | None, groups: list[Any]) -> None:
    group: Any = apps.get_model("fleet", "MachineGroup")
    found = group.objects.filter(pk__in=groups, tenant_id=tenant.pk).count()
    if found != len(groups) or (custom_role is not None and custom_role.tenant_id != tenant.pk):
        raise PlaceRefused("The role or a machine group belongs to another tenant. Choose those of this one.")


def _check_holds(by: Actor, permissions: frozenset[str], what: str) -> None:
    if by.is_platform_staff:
        return
    if missing := sorted(permissions - by.permissions):
        words = PERMISSIONS[missing[0]].words
        raise PlaceRefused(f"{what} more than you may yourself: {words}. Ask somebody who may.")


def _check_admin_left(tenant: Tenant) -> None:
    admins = Member.objects.filter(
        tenant=tenant, role=Role.ADMIN, custom_role=None, limits__isnull=True, user__is_active=True
    )
    if not admins.exists():
        raise PlaceRefused(
            f"{tenant.name} would be left without an administrator. Make somebody else its tenant admin first."
        )


def _role_facts(role: CustomRole) -> dict[str, Any]:
    return {"name": role.name, "permissions": sorted(known(role.permissions))}


def _facts(member: Member | None) -> dict[str, Any]:
    if member is None:
        return {"is admin": False}
    groups = sorted(MemberGroup.objects.filter(member_id=member.pk).values_list("group__name", flat=True))
    own = member.custom_role.name if member.custom_role else None
    return {
        "role": own or member.role,
        "groups": groups,
        "is admin": member.role == Role.ADMIN and own is None and not groups,
    }


def _note(verb: str, by: Actor, member: Member, before: dict[str, Any], after: dict[str, Any] | None) -> None:
    def shown(facts: dict[str, Any] | None) -> dict[str, Any] | None:
        told = {key: value for key, value in (facts or {}).items() if key != "is admin"}
        return told or None

    record_audit(verb, actor=by.name, object=f"user:{member.user_id}", tenant=member.tenant_id,
                 name=member.user.get_username(), before=shown(before), after=shown(after))  # fmt: skip
