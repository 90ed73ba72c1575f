"""Who may do what in a tenant: one table of roles, and the one question that every door asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .models import Member, Role, Tenant, User

Action = Literal["view", "add", "change", "delete"]

EVERYONE = frozenset(Role)
ADMINS = frozenset({Role.ADMIN})
OPERATORS = frozenset({Role.ADMIN, Role.OPERATOR})
WATCHERS = frozenset({Role.ADMIN, Role.OPERATOR, Role.AUDITOR})

# A model and an action that stand nowhere here are refused. Nobody adds what only an agent or a worker makes.
RULES: dict[tuple[str, Action], frozenset[Role]] = {
    ("tenants.Tenant", "view"): EVERYONE,
    ("tenants.Member", "view"): frozenset({Role.ADMIN, Role.AUDITOR}),
    ("tenants.Member", "change"): ADMINS,
    ("tenants.Member", "delete"): ADMINS,
    ("fleet.Machine", "view"): EVERYONE,
    ("fleet.Machine", "change"): OPERATORS,
    ("fleet.EnrollmentToken", "view"): WATCHERS,
    ("fleet.EnrollmentToken", "change"): OPERATORS,
    ("vaults.Vault", "view"): EVERYONE,
    ("catalog.Snapshot", "view"): EVERYONE,
    ("catalog.Session", "view"): EVERYONE,
    ("catalog.Pack", "view"): WATCHERS,
    ("jobs.Job", "view"): EVERYONE,
    ("audit.Entry", "view"): frozenset({Role.ADMIN, Role.AUDITOR}),
}


@dataclass(frozen=True)
class Actor:
    """Who is asking, and where: a platform's own staff, or a member in one of their tenants."""

    user: User
    tenant: Tenant | None
    """The tenant whose data is shown; None shows platform staff all of them."""
    role: Role | None
    """The member's role there; None for platform staff."""

    @property
    def is_platform_staff(self) -> bool:
        """Whether this person works for the platform, not for one tenant."""
        return is_platform_staff(self.user)


def is_platform_staff(user: User) -> bool:
    """Superusers and staff run the platform. Staff that is no superuser may look, and change nothing."""
    return bool(user.is_active and (user.is_superuser or user.is_staff))


def actor_of(user: User, memberships: list[Member], wanted: str | None, chosen: Tenant | None) -> Actor | None:
    """The actor for a signed-in user; None when they belong nowhere.

    `wanted` is the id of the tenant asked for: members get it only if it is theirs (else their first), staff get
    `chosen`, the tenant that was found under it.
    """
    if is_platform_staff(user):
        return Actor(user, chosen, None)
    mine = {str(member.tenant_id): member for member in memberships}
    member = mine.get(wanted or "") or next(iter(memberships), None)
    if member is None or not user.is_active:
        return None
    return Actor(user, member.tenant, Role(member.role))


def may(actor: Actor | None, action: Action, model: str) -> bool:
    """Whether the actor may do this to rows of `model` ("fleet.Machine") that are in their scope."""
    if actor is None:
        return False
    if actor.is_platform_staff:
        return action == "view" or actor.user.is_superuser
    return actor.role in RULES.get((model, action), frozenset())
