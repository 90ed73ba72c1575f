"""Who may do what in a tenant: the questions that every door asks, answered from permissions.py and rules.py.

Rows out of reach (another tenant's, or machines outside a limited member's groups) are invisible already: the scope of
the request narrows every query (scope.py). These questions are for acts, and for objects that came another way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.apps import apps
from django.core.exceptions import ObjectDoesNotExist
from django.db.models import Model, QuerySet

from .errors import Forbidden, OutOfReach
from .models import Member, Role, Tenant, User
from .permissions import ALL, BUILT_IN, PERMISSIONS, known
from .rules import MEMBERSHIP, RULES, Action, open_to_limited
from .scope import ScopeError, tenant_id_of_object, tenant_scope, without_tenant_scope

__all__ = ["RULES", "Action", "Actor", "actor_of", "can", "check", "is_platform_staff", "may", "permissions_of",
           "visible_machines"]  # fmt: skip


@dataclass(frozen=True)
class Actor:
    """Who is asking, and where: a platform's own staff, or a member in one of their tenants."""

    user: User
    tenant: Tenant | None
    """The tenant whose data is shown; None shows platform staff all of them."""
    role: Role | None
    """The member's built-in role there; None for platform staff and for members with a custom role."""
    permissions: frozenset[str] = frozenset()
    """What the member may do there; platform staff are judged by what they are."""
    groups: frozenset[UUID] | None = None
    """The machine groups that the member is limited to; None: all machines."""

    @property
    def is_platform_staff(self) -> bool:
        """Whether this person works for the platform, not for one tenant."""
        return is_platform_staff(self.user)

    @property
    def is_limited(self) -> bool:
        """Whether this person sees the machines of some groups only."""
        return self.groups is not None and not self.is_platform_staff

    @property
    def name(self) -> str:
        """How the audit names this person."""
        return f"user {self.user.get_username()}"


def is_platform_staff(user: User) -> bool:
    """Superusers and staff run the platform. Staff that is no superuser may look, and change nothing."""
    return bool(user.is_active and (user.is_superuser or user.is_staff))


def permissions_of(member: Member) -> frozenset[str]:
    """What a member's place lets them do: the custom role's permissions if there is one, else the built-in role's."""
    if member.custom_role_id is not None:
        return known(member.custom_role.permissions) if member.custom_role else frozenset()
    return BUILT_IN.get(Role(member.role), frozenset()) if member.role in Role.values else frozenset()


def actor_of(user: User, memberships: list[Member], wanted: str | None, chosen: Tenant | None) -> Actor | None:
    """The actor for a signed-in user; None when they belong nowhere.

    `wanted` is the id of the tenant asked for: members get it only if it is theirs (else their first), staff get
    `chosen`, the tenant that was found under it. Memberships come with their roles and limits (queries.memberships_of).
    """
    if is_platform_staff(user):
        return Actor(user, chosen, None, ALL)
    mine = {str(member.tenant_id): member for member in memberships}
    member = mine.get(wanted or "") or next(iter(memberships), None)
    if member is None or not user.is_active:
        return None
    role = None if member.custom_role_id else Role(member.role)
    return Actor(user, member.tenant, role, permissions_of(member), _limits_of(member))


def _limits_of(member: Member) -> frozenset[UUID] | None:
    with without_tenant_scope("a member's own limits are read"):
        return frozenset(limit.group_id for limit in member.limits.all()) or None


def may(actor: Actor | None, action: Action, model: str) -> bool:
    """Whether the actor may do this to rows of `model` ("fleet.Machine") that are in their scope."""
    if actor is None:
        return False
    if actor.is_platform_staff:
        return action == "view" or actor.user.is_superuser
    if actor.is_limited and not open_to_limited(model, action):
        return False
    return bool(RULES.get((model, action), frozenset()) & (actor.permissions | {MEMBERSHIP}))


def can(actor: Actor | None, permission: str, obj: Model | None = None) -> bool:
    """Whether the actor holds this permission and, with an object, whether the object is within their reach."""
    if permission not in PERMISSIONS:
        raise ValueError(f"There is no permission {permission!r}.")
    if actor is None or not _holds(actor, permission):
        return False
    return obj is None or _within_reach(actor, obj, permission)


def check(actor: Actor | None, permission: str, obj: Model | None = None) -> None:
    """Raise `OutOfReach` for an object that this person cannot see (it looks like a missing one), else `Forbidden`
    unless they hold the permission. Both are what Django's doors answer 404 and 403 for."""
    if obj is not None and (actor is None or not _within_reach(actor, obj, permission)):
        raise OutOfReach
    if not can(actor, permission):
        raise Forbidden(PERMISSIONS[permission].words)


def visible_machines(actor: Actor | None) -> QuerySet[Any]:
    """The machines that the actor may see; evaluate it inside a scope, as every query."""
    machines: QuerySet[Any] = apps.get_model("fleet", "Machine").objects.all()
    if actor is None or not can(actor, "machines.view"):
        return machines.none()
    if actor.tenant is not None:
        machines = machines.filter(tenant_id=actor.tenant.pk)
    if actor.is_limited:
        members = apps.get_model("fleet", "GroupMembership").objects.filter(group_id__in=actor.groups or ())
        machines = machines.filter(pk__in=members.values("machine"))
    return machines


def _holds(actor: Actor, permission: str) -> bool:
    if actor.is_platform_staff:
        return permission.endswith(".view") or actor.user.is_superuser
    return permission in actor.permissions


def _within_reach(actor: Actor, obj: Model, permission: str) -> bool:
    if actor.tenant is None:
        return actor.is_platform_staff
    try:
        if tenant_id_of_object(obj) != actor.tenant.pk:
            return False
        return not actor.is_limited or _within_limits(actor, obj, permission)
    except (ScopeError, ObjectDoesNotExist):
        return False


def _within_limits(actor: Actor, obj: Model, permission: str) -> bool:
    """Ask the database, in the actor's own narrowed scope, whether the object is there."""
    action: Action = "view" if permission.endswith(".view") else "change"
    label = obj._meta.label
    # jobs.run on a policy and restores.request on a snapshot act on a machine; neither row is changed.
    acts_elsewhere = label in {"policies.Policy", "catalog.Snapshot"} and permission != "policies.edit"
    if not (open_to_limited(label, action) or acts_elsewhere):
        return False
    with tenant_scope(actor.tenant, actor.groups):
        return bool(type(obj)._base_manager.filter(pk=obj.pk).exists())  # noqa: SLF001
