"""The front door and the page where a tenant is chosen."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.views.decorators.http import require_http_methods, require_safe

from backup_platform.console.site import actor_of
from backup_platform.tenants.middleware import SESSION_KEY
from backup_platform.tenants.queries import all_tenants, memberships_of


@require_safe
def front_door(request: HttpRequest) -> HttpResponse:
    """`/` leads to the dashboard, by way of the sign-in where that is due."""
    return HttpResponseRedirect("/admin/")


@login_required(login_url="admin:login")
@require_http_methods(["GET", "HEAD", "POST"])
def choose_tenant(request: HttpRequest) -> HttpResponse:
    """Choose whose data to see: staff any tenant or all, members one of theirs."""
    actor = actor_of(request)
    if actor is None:
        raise PermissionDenied
    tenants = all_tenants() if actor.is_platform_staff else [member.tenant for member in memberships_of(actor.user)]
    if request.method == "POST":
        wanted = request.POST.get("tenant", "")
        if wanted and wanted not in {str(tenant.pk) for tenant in tenants}:
            raise PermissionDenied
        request.session[SESSION_KEY] = wanted
        return redirect("admin:index")
    context = {
        **admin.site.each_context(request),
        "title": "Choose tenant",
        "tenants": tenants,
        "chosen": actor.tenant,
        "may_see_all": actor.is_platform_staff,
    }
    return TemplateResponse(request, "console/choose_tenant.html", context)
