"""The parts of a job's pages that move: asked for every few seconds by htmx while something runs."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpResponse
from django.template.loader import render_to_string

from backup_platform.console.model_admin import TenantModelAdmin
from backup_platform.jobs import live

MOST_POLLED = 100


class LiveParts(TenantModelAdmin):
    """For the page of jobs: fragments, and the live part above the fields."""

    def change_view(self, request, object_id, form_url="", extra_context=None):
        """With the live part above the fields."""
        job = self.get_object(request, object_id)
        shown = live.show(job, with_lines=True) if job is not None else None
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), "live": shown})

    def live_job(self, request, job_id):
        """One job as it stands now."""
        if not self.has_view_permission(request):
            return _look_again()
        job = self.get_object(request, str(job_id))
        if job is None:
            return _look_again()
        shown = live.show(job, with_lines=True)
        answer = HttpResponse(render_to_string("admin/jobs/live_job.html", {"live": shown}))
        if not shown.moves:
            answer.headers["HX-Refresh"] = "true"  # it has ended: what stands below, and what may be done, is new too
        return answer

    def live_cells(self, request):
        """The moving cells of a list. Status 286 ends the asking once nothing moves any more."""
        if not self.has_view_permission(request):
            return _look_again()
        ids = [UUID(one) for one in request.GET.get("ids", "").split(",")[:MOST_POLLED] if _is_id(one)]
        shown = [live.show(job) for job in self.get_queryset(request).filter(pk__in=ids)]
        rows = [{"live": one, "summary": live.summary(one)} for one in shown]
        return HttpResponse(
            render_to_string("admin/jobs/cells.html", {"rows": rows}),
            status=200 if any(one.moves for one in shown) else 286,
        )


def _look_again():
    """The session is over, or the job is gone: the whole page is loaded anew, and says so."""
    return HttpResponse(status=204, headers={"HX-Refresh": "true"})


def _is_id(text):
    try:
        return bool(UUID(text))
    except ValueError:
        return False
