"""*Drill now*, on the page of a machine and on that of a snapshot: ask, then put the drill on the work list."""

from __future__ import annotations

from typing import Any

from django.http import Http404
from unfold.decorators import action, display

from backup_platform.console import showing
from backup_platform.console.asking import AskingAdmin, Question
from backup_platform.console.site import asking
from backup_platform.jobs.drills import drill_now, request_drill
from backup_platform.jobs.errors import JobRefused
from backup_platform.tenants.access import can

WHAT_IT_IS = (
    "The machine restores a random sample of its own files into a scratch directory, compares them with what was "
    "recorded, and throws them away. Only figures are reported."
)
CANNOT = (
    "It may write only, and reads nothing back: it cannot drill. Try its snapshots on any machine of the vault with "
    "the kit: strongroom drill --kit DIR --machine {name}."
)
BEGUN, UNDER_WAY = "The drill is on the list; its job says how it goes.", "A drill of it waits or runs already."


class DrillActs(AskingAdmin):
    """For pages about something that can be drilled. `machine_of` says of which machine a row is."""

    def machine_of(self, row):
        """The machine that would do it."""
        raise NotImplementedError

    def ask_for_drill(self, row, by):
        """Put the drill on the list; None when one waits or runs."""
        raise NotImplementedError

    def has_drill_permission(self, request, object_id=None):
        """Whether this person may have machines drill."""
        page: Any = self
        return page.has_view_permission(request) and can(asking(request), "jobs.run")

    @action(description="Drill now", icon="fitness_center", permissions=["drill"], url_path="drill")
    def drill(self, request, object_id):
        """Have a sample restored for trial. A GET only asks."""

        def question(row):
            machine = self.machine_of(row)
            text = CANNOT.format(name=machine.name) if machine.write_only else WHAT_IT_IS
            return Question(f"Drill {machine.name} now?", (text,), "Drill", False)

        def act(row, _reason):
            return BEGUN if self.ask_for_drill(row, asking(request).name) else UNDER_WAY

        page: Any = self
        row = page.get_object(request, object_id)
        if row is None:
            raise Http404
        allowed = can(asking(request), "jobs.run", self.machine_of(row))
        return self.ask_or_act(request, object_id, allowed, question, act, (JobRefused,))


class MachineDrills(DrillActs):
    """For the page of machines: its newest snapshot is tried."""

    def machine_of(self, row):
        """Itself."""
        return row

    def ask_for_drill(self, row, by):
        """Of its newest good snapshot."""
        return drill_now(row, by)

    @display(description="Newest proof")
    def proven_shown(self, machine):
        """When a drill of it last ended without a fault."""
        if machine.write_only:
            return "cannot drill: it may write only"
        when = machine.snapshots.filter(proven_at__isnull=False).order_by("-proven_at")
        return showing.moment(when.values_list("proven_at", flat=True).first())


class SnapshotDrills(DrillActs):
    """For the page of snapshots: this one is tried."""

    def machine_of(self, row):
        """Whose snapshot it is."""
        return row.machine

    def ask_for_drill(self, row, by):
        """Of this very snapshot."""
        return request_drill(row.machine, row.pk, by=by)

    @display(description="Proven", ordering="proven_at")
    def proven_shown(self, snapshot):
        """When a drill last restored a part of it without a fault."""
        return showing.moment(snapshot.proven_at)
