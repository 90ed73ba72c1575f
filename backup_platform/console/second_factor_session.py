"""Who has a second factor can do nothing before showing it; who is asked for one, nothing before setting it up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from backup_platform.tenants.second_factor import factor_of, must_set_up

VERIFIED = "second_factor"
"""In the session: the id of the factor that was shown. Another factor, set up elsewhere since, is asked for anew."""
OPEN = ("/static/", "/healthz", "/readyz")
PROGRAMS = ("/api/", "/metrics")


def is_verified(request: HttpRequest, factor: Any) -> bool:
    """Whether this session has shown this factor."""
    return bool(request.session.get(VERIFIED) == factor.pk)


class SecondFactorMiddleware:
    """Stands before the tenant scope: without the second factor there is no actor, and so no row of anybody."""

    ALLOWED = ("console:code", "admin:login", "admin:logout")

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Send who has not shown their factor to the page that asks for it; programs get a plain refusal."""
        if request.path.startswith(OPEN) or not request.user.is_authenticated:
            return self.get_response(request)
        factor = factor_of(request.user)
        if factor is None or is_verified(request, factor):
            return self.get_response(request)
        if request.path in {reverse(name) for name in self.ALLOWED}:
            request.without_actor = True  # type: ignore[attr-defined]
            return self.get_response(request)
        return _send(request, "console:code", "Show the second factor first.")


class RequiredFactorMiddleware:
    """Stands inside the tenant scope, where it is known whether the tenant asks for a second factor."""

    ALLOWED = ("console:factor", "console:tenant", "admin:logout", "admin:login", "admin:password_change",
               "admin:password_change_done")  # fmt: skip

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Send who must set a factor up to the page where that is done."""
        actor = getattr(request, "actor", None)
        if actor is None or request.path.startswith(OPEN) or not must_set_up(
            actor.user, actor.tenant, is_staff=actor.is_platform_staff
        ):  # fmt: skip
            return self.get_response(request)
        if request.path in {reverse(name) for name in self.ALLOWED}:
            return self.get_response(request)
        return _send(request, "console:factor", "Your tenant asks for a second factor: set it up first.")


def _send(request: HttpRequest, page: str, words: str) -> HttpResponse:
    if request.path.startswith(PROGRAMS):
        return HttpResponse(f"{words}\n", status=403, content_type="text/plain")
    onward = {"next": request.get_full_path()} if request.method == "GET" else {}
    return redirect(f"{reverse(page)}?{urlencode(onward)}" if onward else reverse(page))
