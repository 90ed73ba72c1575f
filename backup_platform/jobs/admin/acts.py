"""What people may do with a job: a GET asks, a POST does, the role table decides."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.decorators import action
from unfold.enums import ActionVariant

from backup_platform.console.model_admin import TenantModelAdmin
from backup_platform.console.site import actor_of
from backup_platform.jobs import people
from backup_platform.jobs.errors import JobRefused
from backup_platform.jobs.models import UNFINISHED, JobKind
from backup_platform.tenants.access import can


def _name(request):
    actor = actor_of(request)
    assert actor is not None, "the permission was asked before"
    return actor.name


def _may_ask_for(request, job):
    """Whether this person may ask for such a job at all: a restore that failed is no way around that right."""
    return job.kind != JobKind.RESTORE or can(actor_of(request), "restores.request", job.machine)


class JobActs(TenantModelAdmin):
    """For the page of jobs: cancel, try again, try again all that failed."""

    def has_cancel_permission(self, request, object_id=None):
        """Whether this person may cancel this job."""
        return self._may_act(request, object_id, UNFINISHED)

    def has_retry_permission(self, request, object_id=None):
        """Whether this person may try this job again."""
        job = self.get_object(request, object_id) if object_id else None
        return self._may_act(request, object_id, people.RETRIED) and (job is None or _may_ask_for(request, job))

    def has_retry_failed_permission(self, request):
        """Whether this person may try again what failed, in the one tenant that they look at."""
        actor = actor_of(request)
        return self.may(request, "change") and actor is not None and actor.tenant is not None

    def _may_act(self, request, object_id, states):
        if not self.may(request, "change"):
            return False
        job = self.get_object(request, object_id) if object_id else None
        return job is None or (job.state in states and job.machine_id is not None)

    @action(description="Cancel", icon="cancel", variant=ActionVariant.DANGER, permissions=["cancel"])
    def cancel_job(self, request, object_id):
        """Ask, then cancel. A GET only asks."""
        job = self._job(request, object_id)
        if request.method != "POST":
            question = "A running job is stopped by its machine. What it has sent is kept, and used by the next one."
            return self._ask(request, job, f"Cancel this {job.get_kind_display().lower()}?", question, "Cancel it")
        done, not_done = "Cancelled; a running machine is asked to stop.", "It has ended, or was cancelled before."
        return self._do(request, job, people.cancel, done, not_done)

    @action(description="Try again", icon="replay", permissions=["retry"])
    def retry_job(self, request, object_id):
        """Ask, then make the job anew. A GET only asks."""
        job = self._job(request, object_id)
        if not _may_ask_for(request, job):
            raise PermissionDenied
        if request.method != "POST":
            question = "The same job is put on the list again, now, with the settings that it had."
            return self._ask(request, job, "Try it again?", question, "Try again", danger=False)
        done, not_done = "It is on the list again: this is the new job.", "The same is waiting or running already."
        return self._do(request, job, people.retry, done, not_done)

    @action(description="Try again what failed", icon="replay", permissions=["retry_failed"])
    def retry_failed_jobs(self, request):
        """Ask, then try again every backup whose last run failed or was missed. A GET only asks."""
        if not self.has_retry_failed_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            question = "Every backup whose last run of the past week failed or was missed is put on the list again."
            return self._ask(request, None, "Try again what failed?", question, "Try again", danger=False)
        actor = actor_of(request)
        assert actor is not None
        assert actor.tenant is not None, "the permission asks for one tenant"
        count = people.retry_failed(actor.tenant.pk, by=actor.name)
        said = "1 backup is" if count == 1 else f"{count:,} backups are"
        messages.success(request, f"{said} on the list again." if count else "Nothing needs a second try.")
        return redirect("admin:jobs_job_changelist")

    def _job(self, request, object_id):
        if not self.may(request, "change"):
            raise PermissionDenied
        job = self.get_object(request, object_id)
        if job is None:
            raise Http404
        return job

    def _do(self, request, job, deed, done, not_done):
        shown = job.pk
        try:
            came_of_it = deed(job, by=_name(request))
            messages.info(request, done if came_of_it else not_done)
            shown = came_of_it if isinstance(came_of_it, UUID) else job.pk  # a new job is what people look for now
        except JobRefused as refusal:
            messages.error(request, str(refusal))
        return redirect(reverse("admin:jobs_job_change", args=[shown]))

    def _ask(self, request, job, title, question, yes, *, danger=True):
        back = reverse("admin:jobs_job_change", args=[job.pk]) if job else reverse("admin:jobs_job_changelist")
        context = {**self.admin_site.each_context(request), "title": title, "opts": self.opts, "question": question,
                   "yes": yes, "danger": danger, "back": back}  # fmt: skip
        return TemplateResponse(request, "admin/jobs/ask.html", context)
