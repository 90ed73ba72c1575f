"""*Restore*, on the page of a snapshot: what and into which folder, then the job is put on the machine's list."""

from __future__ import annotations

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.decorators import action
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from backup_platform.console.model_admin import TenantModelAdmin
from backup_platform.console.site import asking
from backup_platform.jobs.asking import MOST_PATHS, RESTORABLE, request_restore
from backup_platform.jobs.errors import JobRefused
from backup_platform.tenants.access import can

RIGHT = "restores.request"
PLAIN = {"spellcheck": "false", "autocomplete": "off"}
WHAT_HAPPENS = (
    "The machine restores it into a fresh directory of its own and overwrites nothing. The job says when it is there."
)
WITHOUT_IT = (
    "This is for a machine that still has its keys. Without it, restore on another one with the recovery kit: "
    "strongroom restore --kit DIR --machine {name}."
)


class RestoreForm(forms.Form):
    """What to restore, and where: a name, because only the machine's own configuration says which folder that is."""

    paths = forms.CharField(
        label="Files and directories", required=False, max_length=MOST_PATHS * 200,
        widget=UnfoldAdminTextareaWidget(attrs={**PLAIN, "rows": 4, "placeholder": "/home/anna/letters"}),
        help_text="Their full paths as on the machine, one a line. Empty: all of the snapshot.",
    )  # fmt: skip
    into = forms.CharField(
        label="Restore folder", required=False, max_length=100, widget=UnfoldAdminTextInputWidget(attrs=PLAIN),
        help_text="A name from [restore] folders in the machine's agent.toml. Empty: restores/ in the agent's home.",
    )  # fmt: skip

    def wanted(self):
        """The paths that were written, without empty lines. Only a line feed ends a path: a name may hold the rest."""
        lines = [line.strip(" \t\r") for line in self.cleaned_data["paths"].split("\n")]
        return [line for line in lines if line]


class SnapshotRestores(TenantModelAdmin):
    """For the page of snapshots: its machine is asked to restore it."""

    def has_restore_permission(self, request, object_id=None):
        """Whether this person may ask machines to restore; offered where there is something to restore."""
        if not can(asking(request), RIGHT):
            return False
        row = self.get_object(request, object_id) if object_id else None
        return row is None or row.state in RESTORABLE

    @action(description="Restore", icon="settings_backup_restore", permissions=["restore"], url_path="restore")
    def restore(self, request, object_id):
        """Ask what and where, then put the job on the list. A GET only asks."""
        row = self.get_object(request, object_id)
        if row is None:
            raise Http404
        if not can(asking(request), RIGHT, row.machine):
            raise PermissionDenied
        form = RestoreForm(request.POST if request.method == "POST" else None)
        made = _restore(row, form, asking(request).name) if form.is_valid() else None
        if made is None:
            return self._ask_what(request, row, form)
        messages.success(request, f"{row.machine.name} is asked to restore; this is the job.")
        return redirect(reverse("admin:jobs_job_change", args=[made]))

    def _ask_what(self, request, row, form):
        name = row.machine.name
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Restore {name} as it was on {row.received_at:%Y-%m-%d %H:%M} UTC?",
            "lines": [WHAT_HAPPENS, WITHOUT_IT.format(name=name)],
            "form": form,
            "button": "Restore",
            "back": reverse("admin:catalog_snapshot_change", args=[row.pk]),
        }
        return TemplateResponse(request, "notifications/ask.html", context)


def _restore(row, form, by):
    """The job's id; None, and a sentence in the form, where the service refuses."""
    try:
        return request_restore(row.machine, row.pk, paths=form.wanted(), into=form.cleaned_data["into"], asked_by=by)
    except JobRefused as refused:
        form.add_error(None, str(refused))
        return None
