"""The work list, live. People look, cancel and try again; everything else is done by machines and workers."""

from __future__ import annotations

from django.contrib import admin
from django.template.loader import render_to_string
from django.urls import path, reverse
from django.utils.html import format_html
from unfold.decorators import display

from backup_platform.console import showing
from backup_platform.console.model_admin import MACHINE_FILTER, TENANT_FILTER
from backup_platform.jobs import live
from backup_platform.jobs.admin.acts import JobActs
from backup_platform.jobs.admin.live_parts import LiveParts
from backup_platform.jobs.models import UNFINISHED, Job, JobState


class EndFilter(admin.SimpleListFilter):
    """The questions that people come with."""

    title = "what to look at"
    parameter_name = "look"
    WAYS = {
        "bad": ("Failed or missed", (JobState.FAILED, JobState.MISSED)),
        "half": ("Done with warnings", (JobState.WARNINGS,)),
        "now": ("Waiting or running", UNFINISHED),
        "good": ("Done", (JobState.DONE,)),
    }
    OF_MACHINES = "machines"

    def lookups(self, request, model_admin):
        ways = [(name, label) for name, (label, _) in self.WAYS.items()]
        return [*ways, (self.OF_MACHINES, "Of machines: backups, restores, drills")]

    def queryset(self, request, queryset):
        if self.value() == self.OF_MACHINES:
            return queryset.filter(machine__isnull=False)
        way = self.WAYS.get(self.value() or "")
        return queryset.filter(state__in=way[1]) if way else queryset


@admin.register(Job)
class JobAdmin(LiveParts, JobActs):
    """Jobs, newest first."""

    class Media:
        css = {"all": ["jobs/jobs.css"]}

    allowed = frozenset({"view", "change"})
    list_display = ["kind_shown", "machine", "policy_shown", "state_shown", "progress_shown", "created_shown",
                    "finished_shown", "error_shown", "tenant"]  # fmt: skip
    list_filter = [EndFilter, "state", "kind", "origin", MACHINE_FILTER, TENANT_FILTER]
    search_fields = ["subject", "machine__name", "policy__name"]
    list_before_template = "admin/jobs/poll_list.html"
    change_form_before_template = "admin/jobs/live_job.html"
    actions_detail = ["cancel_job", "retry_job"]
    actions_list = ["retry_failed_jobs"]
    fieldsets = [
        (None, {"fields": ["kind_shown", "machine", "policy_shown", "tenant", "asked_shown", "subject"]}),
        ("Times", {"fields": ["created_shown", "due_shown", "deadline_shown", "started_shown", "finished_shown",
                              "next_shown"]}),
        ("Attempts", {"fields": ["attempts_shown", "gateway", "snapshot_shown", "result_shown"]}),
    ]  # fmt: skip

    def get_queryset(self, request):
        """With what every page of a job names."""
        return super().get_queryset(request).select_related("tenant", "machine", "policy")

    def get_urls(self):
        """The fragments that a page asks for while jobs run."""
        return [
            path("live/", self.live_cells, name="jobs_job_live_cells"),
            path("<uuid:job_id>/live/", self.live_job, name="jobs_job_live"),
            *super().get_urls(),
        ]

    def has_change_permission(self, request, obj=None):
        """No field can be edited; the right to change is the right to cancel and to try again."""
        return False

    @display(description="Kind", ordering="kind")
    def kind_shown(self, job):
        return job.get_kind_display()

    @display(description="Policy", ordering="policy__name")
    def policy_shown(self, job):
        return job.policy.name if job.policy else showing.NOTHING

    @display(description="State", ordering="state")
    def state_shown(self, job):
        return format_html(
            '<span id="job-state-{}"><span class="sr-badge sr-state-{}">{}</span></span>',
            job.pk, job.state, job.get_state_display(),
        )  # fmt: skip

    @display(description="Progress")
    def progress_shown(self, job):
        shown = live.show(job)
        cell = render_to_string("admin/jobs/progress.html", {"live": shown, "summary": live.summary(shown)})
        return format_html('<span id="job-progress-{}">{}</span>', job.pk, cell)

    @display(description="Asked for by")
    def asked_shown(self, job):
        return " · ".join(part for part in (job.get_origin_display(), job.asked_by) if part)

    @display(description="Made", ordering="created_at")
    def created_shown(self, job):
        return showing.moment(job.created_at)

    @display(description="Was due")
    def due_shown(self, job):
        return showing.moment(job.due_at)

    @display(description="Missed unless begun by")
    def deadline_shown(self, job):
        return f"{job.deadline:%Y-%m-%d %H:%M:%S} UTC" if job.deadline else "no deadline"

    @display(description="Last begun")
    def started_shown(self, job):
        return showing.moment(job.started_at)

    @display(description="Next attempt")
    def next_shown(self, job):
        return f"{job.next_attempt_at:%Y-%m-%d %H:%M:%S} UTC" if job.state == JobState.QUEUED else showing.NOTHING

    @display(description="Finished", ordering="finished_at")
    def finished_shown(self, job):
        return showing.moment(job.finished_at)

    @display(description="Attempts")
    def attempts_shown(self, job):
        if job.machine_id:
            return f"{job.attempts} of at most {job.max_attempts}"
        return f"{job.attempts}, and its worker died {job.lost} times in a row" if job.lost else str(job.attempts)

    @display(description="Snapshot")
    def snapshot_shown(self, job):
        if not job.snapshot:
            return showing.NOTHING
        link = reverse("admin:catalog_snapshot_change", args=[job.snapshot])
        return format_html('<a class="sr-next" href="{}">{}</a>', link, showing.code(job.snapshot.hex, 8))

    @display(description="What came of it")
    def result_shown(self, job):
        if job.machine_id or not job.progress:
            return showing.NOTHING  # a machine's job says it above, in figures
        return " · ".join(f"{name.replace('_', ' ')}: {_plain(value)}" for name, value in job.progress.items())

    @display(description="Cause")
    def error_shown(self, job):
        return job.last_error[:80] or showing.NOTHING


def _plain(value):
    """A value of a worker's report as a person reads it."""
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {_plain(one)}" for name, one in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(_plain(one) for one in value) or "none"
    if isinstance(value, bool) or value is None:
        return "yes" if value else "no"
    return showing.number(value) if isinstance(value, int) else str(value)
