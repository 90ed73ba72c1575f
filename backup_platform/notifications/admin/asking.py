"""The page that asks before something is done, and what several of the pages share."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse

from backup_platform.console.model_admin import TenantModelAdmin
from backup_platform.console.site import actor_of
from backup_platform.notifications.words import Level

LEVEL_COLOURS = {Level.INFO.label: "info", Level.WARNING.label: "warning", Level.ERROR.label: "danger"}


def tenant_shown(request):
    """The tenant whose rows are shown; None where all are."""
    actor = actor_of(request)
    return actor.tenant if actor else None


def person_of(request):
    """How the audit names whoever is signed in."""
    actor = actor_of(request)
    return actor.name if actor else ""


class AskingAdmin(TenantModelAdmin):
    """A page whose rows change by acts only: each act asks on GET and is done on POST."""

    def person(self, request):
        """How the audit names whoever is signed in."""
        return person_of(request)

    def has_act_permission(self, request, object_id=None):
        """Whether this person may act on such rows; for unfold's actions."""
        return self.may(request, "change")

    def found(self, request, object_id):
        """The row, for somebody who may act on it. 404 for one out of reach, 403 for who may only look."""
        row = self.get_object(request, object_id)
        if row is None:
            raise Http404
        if not self.has_act_permission(request):
            raise PermissionDenied
        return row

    def back_to(self, row):
        """To the row's own page."""
        return redirect(reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[row.pk]))

    def ask(self, request, row, title, lines, button, *, form=None, danger=False):
        """A page with a question, and perhaps a form; the button sends it here again."""
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "lines": lines,
            "button": button,
            "form": form,
            "danger": danger,
            "back": self.back_to(row).url,
        }
        return TemplateResponse(request, "notifications/ask.html", context)

    def tenant_of_new(self, request, form):
        """Whose a new row is: the tenant that is shown; where all are shown, the one chosen (none: the platform's)."""
        return tenant_shown(request) or form.cleaned_data.get("tenant")
