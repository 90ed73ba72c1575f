"""The admin site: who may enter, and what its first page shows."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.views import PasswordChangeView
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.urls import reverse
from unfold.sites import UnfoldAdminSite

from backup_platform.tenants.access import Actor
from backup_platform.tenants.models import Tenant


def actor_of(request: HttpRequest) -> Actor | None:
    """The actor that the tenant middleware found."""
    return getattr(request, "actor", None)


def asking(request: HttpRequest) -> Actor:
    """The actor of a page that only signed-in people reach. Raises `PermissionDenied` where there is none."""
    actor = actor_of(request)
    if actor is None:
        raise PermissionDenied
    return actor


def asking_in(request: HttpRequest) -> Tenant:
    """The one tenant that the page is about. Raises `PermissionDenied` where the actor sees all of them."""
    tenant = asking(request).tenant
    if tenant is None:
        raise PermissionDenied("Choose a tenant first.")
    return tenant


class StrongroomSite(UnfoldAdminSite):
    """Open to platform staff and to members of a tenant, each within their scope."""

    index_title = "Dashboard"
    site_title = site_header = "Strongroom"

    def has_permission(self, request: HttpRequest) -> bool:
        """Whoever has an actor may enter; what they see is another question."""
        return actor_of(request) is not None

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Change one's own password; a one-time password must differ from the new one."""
        from backup_platform.console.forms import OwnPasswordForm

        request.current_app = self.name
        view = PasswordChangeView.as_view(
            form_class=OwnPasswordForm,
            template_name="registration/password_change_form.html",
            success_url=reverse("admin:password_change_done"),
            extra_context={**self.each_context(request), **(extra_context or {})},
        )
        return view(request)
