"""What the sidebar and the header show to whom. Unfold calls these by their dotted names."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.http import HttpRequest

from backup_platform.console.site import actor_of
from backup_platform.tenants.access import RULES, Action, may
from backup_platform.tenants.queries import memberships_of


def platform_only(request: HttpRequest) -> bool:
    """Shown to the platform's own staff."""
    actor = actor_of(request)
    return actor is not None and actor.is_platform_staff


def may_choose_tenant(request: HttpRequest) -> bool:
    """Shown to staff, and to members of more than one tenant."""
    actor = actor_of(request)
    if actor is None:
        return False
    return actor.is_platform_staff or len(memberships_of(actor.user)) > 1


def scope_badge(request: HttpRequest) -> list[str] | None:
    """Whose data the page shows: the tenant's name, or that it is everybody's."""
    actor = actor_of(request)
    if actor is None:
        return None
    if actor.tenant is None:
        return ["All tenants", "info"]
    return [actor.tenant.name, "warning" if actor.is_platform_staff else "success"]


def __getattr__(name: str) -> Any:
    """`may_<action>_<app>_<model>` for every rule."""
    for label, action in RULES:
        if name == f"may_{action}_{label.lower().replace('.', '_')}":
            return partial(_allows, label, action)
    raise AttributeError(name)


def _allows(label: str, action: Action, request: HttpRequest) -> bool:
    return may(actor_of(request), action, label)
