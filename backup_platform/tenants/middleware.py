"""Opens the tenant scope of a request, once, from who is signed in and which tenant they chose."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from uuid import UUID

from django.http import HttpRequest, HttpResponse

from .access import Actor, actor_of, is_platform_staff
from .models import Tenant, User
from .queries import memberships_of, tenant_with_id
from .scope import tenant_scope, without_tenant_scope

SESSION_KEY = "tenant"
# These answer machines, not people: they neither need nor touch the session.
WITHOUT_ACTOR = ("/healthz", "/readyz", "/static/")


class TenantScopeMiddleware:
    """Sets `request.actor` and runs the view inside that actor's scope; without an actor there is no scope at all."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request inside its scope."""
        without = request.path.startswith(WITHOUT_ACTOR) or getattr(request, "without_actor", False)
        actor = None if without else find_actor(request)
        request.actor = actor  # type: ignore[attr-defined]
        with scope_of(actor):
            return self.get_response(request)


def find_actor(request: HttpRequest) -> Actor | None:
    """The actor of a request's session."""
    user = request.user
    if not isinstance(user, User) or not user.is_authenticated:
        return None
    wanted = request.session.get(SESSION_KEY)
    if is_platform_staff(user):
        return actor_of(user, [], wanted, _chosen(wanted))
    return actor_of(user, memberships_of(user), wanted, None)


def scope_of(actor: Actor | None) -> AbstractContextManager[object]:
    """The scope in which an actor works."""
    if actor is None:
        return nullcontext()
    if actor.tenant is None:
        return without_tenant_scope("platform staff chose to see every tenant")
    return tenant_scope(actor.tenant, actor.groups)


def _chosen(wanted: str | None) -> Tenant | None:
    try:
        return tenant_with_id(UUID(wanted)) if wanted else None
    except ValueError:
        return None
