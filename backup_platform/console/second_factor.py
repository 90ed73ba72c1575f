"""The pages of second factors: asked for at sign-in, set up and removed by the person, with recovery codes."""

from __future__ import annotations

import base64
from typing import Any

from allauth.mfa.adapter import get_adapter
from django.contrib import admin, messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from backup_platform.console.second_factor_session import VERIFIED, is_verified
from backup_platform.tenants.errors import CodeRefused, PlaceRefused
from backup_platform.tenants.second_factor import (
    check_code,
    disable_factor,
    enable_factor,
    factor_of,
    new_secret,
    renew_recovery_codes,
)

SECRET = "second_factor_secret"  # noqa: S105 - the session's name for it
LONGEST_CODE = 32


@never_cache
@login_required(login_url="admin:login")
@require_http_methods(["GET", "HEAD", "POST"])
def ask_code(request: HttpRequest) -> HttpResponse:
    """The second step of signing in."""
    onward = request.GET.get("next") or request.POST.get("next") or "/admin/"
    if not url_has_allowed_host_and_scheme(onward, allowed_hosts={request.get_host()}):
        onward = "/admin/"
    factor = factor_of(_user(request))
    if factor is None or is_verified(request, factor):
        return redirect(onward)
    fault = ""
    if request.method == "POST":
        try:
            check_code(_user(request), request.POST.get("code", "")[:LONGEST_CODE])
            _verified(request, factor)
            return redirect(onward)
        except CodeRefused as refusal:
            fault = str(refusal)
    context = {**admin.site.each_context(request), "title": "Second factor", "fault": fault, "next": onward}
    return TemplateResponse(request, "console/second_factor_code.html", context, status=400 if fault else 200)


@never_cache
@login_required(login_url="admin:login")
@require_http_methods(["GET", "HEAD", "POST"])
def set_up(request: HttpRequest) -> HttpResponse:
    """A person's own second factor: turn it on with a QR code, make new recovery codes, turn it off."""
    user, fault, codes = _user(request), "", []
    act, code = request.POST.get("act", ""), request.POST.get("code", "")[:LONGEST_CODE]
    try:
        if request.method == "POST" and act == "enable":
            codes = enable_factor(user, request.session.get(SECRET, ""), code)
            request.session.pop(SECRET, None)
            _verified(request, factor_of(user))
        elif request.method == "POST" and act == "codes":
            codes = renew_recovery_codes(user, code)
        elif request.method == "POST" and act == "disable":
            disable_factor(user, code)
            messages.success(request, "The second factor is off.")
    except (CodeRefused, PlaceRefused) as refusal:
        fault = str(refusal)
    context = {**admin.site.each_context(request), **_shown(request, user), "title": "Second factor", "codes": codes,
               "fault": fault, "required": _is_required(request)}  # fmt: skip
    return TemplateResponse(request, "console/second_factor.html", context, status=400 if fault else 200)


def _shown(request: HttpRequest, user: Any) -> dict[str, Any]:
    if factor_of(user) is not None:
        return {"enabled": True}
    secret = request.session.setdefault(SECRET, new_secret())
    adapter = get_adapter()
    picture = adapter.build_totp_svg(adapter.build_totp_url(user, secret))
    spaced = " ".join(secret[start : start + 4] for start in range(0, len(secret), 4))
    return {"enabled": False, "secret": spaced, "picture": base64.b64encode(picture.encode()).decode()}


def _is_required(request: HttpRequest) -> bool:
    actor = getattr(request, "actor", None)
    return bool(actor and actor.tenant and actor.tenant.requires_totp and not actor.is_platform_staff)


def _verified(request: HttpRequest, factor: Any) -> None:
    """This session has shown the second factor. It gets a new key, as at every rise of rights."""
    request.session.cycle_key()
    request.session[VERIFIED] = factor.pk


def _user(request: HttpRequest) -> Any:
    return request.user
