"""The work list: read-only. Its rows are claimed, renewed and finished by workers alone."""

from __future__ import annotations

from django.contrib import admin
from unfold.decorators import display

from backup_platform.console import showing
from backup_platform.console.model_admin import TENANT_FILTER, PlatformModelAdmin, TenantModelAdmin
from backup_platform.jobs.models import Job, JobState, WorkerBeat

JOB_COLOURS = {
    JobState.QUEUED.label: "default",
    JobState.RUNNING.label: "info",
    JobState.DONE.label: "success",
    JobState.FAILED.label: "danger",
}


@admin.register(Job)
class JobAdmin(TenantModelAdmin):
    """Jobs, newest first."""

    list_display = ["kind_shown", "state_shown", "subject", "attempts", "created_shown", "finished_shown",
                    "error_shown", "tenant"]  # fmt: skip
    list_filter = ["state", "kind", TENANT_FILTER]
    search_fields = ["subject"]
    list_select_related = ["tenant"]
    fields = ["kind_shown", "state_shown", "subject", "tenant", "attempts", "progress", "last_error", "created_shown",
              "next_shown", "finished_shown", "lease_owner"]  # fmt: skip

    @display(description="Kind", ordering="kind")
    def kind_shown(self, job):
        return job.get_kind_display()

    @display(description="State", ordering="state", label=JOB_COLOURS)
    def state_shown(self, job):
        return job.get_state_display()

    @display(description="Made", ordering="created_at")
    def created_shown(self, job):
        return showing.moment(job.created_at)

    @display(description="Next attempt")
    def next_shown(self, job):
        return f"{job.next_attempt_at:%Y-%m-%d %H:%M:%S} UTC"

    @display(description="Finished", ordering="finished_at")
    def finished_shown(self, job):
        return showing.moment(job.finished_at)

    @display(description="Last error")
    def error_shown(self, job):
        return job.last_error[:80] or showing.NOTHING


@admin.register(WorkerBeat)
class WorkerBeatAdmin(PlatformModelAdmin):
    """When each worker last did a task for real."""

    list_display = ["name", "seen_shown"]
    fields = ["name", "seen_shown"]

    @display(description="Last task", ordering="seen_at")
    def seen_shown(self, beat):
        return showing.moment(beat.seen_at)
