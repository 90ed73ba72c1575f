"""Runs that stopped because they would have dropped too much, and how a person confirms one."""

from __future__ import annotations

from hashlib import sha256

from django.contrib import admin
from django.http import Http404
from unfold.decorators import action, display

from backup_platform.catalog.models import Snapshot
from backup_platform.console import showing
from backup_platform.console.asking import AskingAdmin, Question
from backup_platform.console.model_admin import MACHINE_FILTER, TENANT_FILTER, TenantModelAdmin
from backup_platform.console.site import asking
from backup_platform.retention.errors import RetentionRefused
from backup_platform.retention.models import ExpiryStop
from backup_platform.retention.services import MANAGE, confirm_stop
from backup_platform.tenants.access import can

COLOURS = {"waits for a person": "danger", "confirmed": "info", "over": "default"}
SHOWN = 20


@admin.register(ExpiryStop)
class ExpiryStopAdmin(AskingAdmin, TenantModelAdmin):
    """Stopped expiries, the newest first."""

    list_display = ["machine", "state_shown", "count_shown", "found_shown", "confirmed_by", "tenant"]
    list_filter = [MACHINE_FILTER, TENANT_FILTER]
    search_fields = ["machine__name"]
    list_select_related = ["machine", "tenant"]
    fields = ["machine", "state_shown", "count_shown", "which_shown", "found_shown", "confirmed_by", "confirmed_shown",
              "tenant"]  # fmt: skip
    actions_detail = ["confirm"]

    def has_confirm_permission(self, request, object_id=None):
        """Whether this person may confirm, and it waits for one."""
        if not can(asking(request), MANAGE):
            return False
        row = self.get_object(request, object_id) if object_id else None
        return row is None or not (row.confirmed_at or row.closed_at)

    @action(description="Confirm", icon="check", permissions=["confirm"])
    def confirm(self, request, object_id):
        """Ask, then let exactly these snapshots expire. A GET only asks."""
        row = self.get_object(request, object_id)
        if row is None:
            raise Http404

        if request.method != "POST":
            request.session[_shown_key(row)] = _fingerprint(row)

        def act(stop, _reason):
            if request.session.get(_shown_key(stop)) != _fingerprint(stop):
                raise RetentionRefused("It was not shown to you as it is now; look at it, and confirm it then.")
            confirm_stop(stop, by=asking(request), seen=stop.snapshots)
            return "The run goes on. What it lets expire can be brought back for some days."

        may = can(asking(request), MANAGE, row.machine)
        return self.ask_or_act(request, object_id, may, _question, act, (RetentionRefused,))

    @display(description="State", label=COLOURS)
    def state_shown(self, stop):
        if stop.closed_at:
            return "over"
        return "confirmed" if stop.confirmed_at else "waits for a person"

    @display(description="Would have gone")
    def count_shown(self, stop):
        return f"{stop.dropping:,} of {stop.good:,} good snapshots"

    @display(description="Which")
    def which_shown(self, stop):
        times = Snapshot.objects.filter(pk__in=stop.snapshots[:SHOWN]).order_by("received_at")
        shown = ", ".join(f"{one:%Y-%m-%d %H:%M}" for one in times.values_list("received_at", flat=True))
        more = len(stop.snapshots) - SHOWN
        return f"{shown} and {more:,} more" if more > 0 else shown or showing.NOTHING

    @display(description="Stopped", ordering="found_at")
    def found_shown(self, stop):
        return showing.moment(stop.found_at)

    @display(description="Confirmed")
    def confirmed_shown(self, stop):
        return showing.moment(stop.confirmed_at)


def _fingerprint(stop):
    """Stands for exactly these snapshots: what was asked about is what is confirmed, and nothing that came since."""
    return sha256("".join(sorted(stop.snapshots)).encode()).hexdigest()


def _shown_key(stop):
    return f"stop-{stop.pk}"


def _question(stop):
    text = (f"{stop.dropping:,} of its {stop.good:,} good snapshots expire with the next run. Confirm it only if the "
            "rules that apply to this machine are meant as they are.")  # fmt: skip
    return Question(f"Let them expire on {stop.machine.name}?", (text,), "Let them expire")
