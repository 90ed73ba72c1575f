"""What the pages of machines show of them."""

from __future__ import annotations

from django.urls import reverse
from django.utils.html import format_html_join
from unfold.decorators import display

from backup_platform.console import showing
from backup_platform.fleet.approval import fingerprint
from backup_platform.fleet.models import MachineState

PRESENCE_COLOURS = {"online": "success", "away": "default", "waits for approval": "warning", "revoked": "danger",
                    "decommissioned": "default"}  # fmt: skip
STATE_COLOURS = {"verified": "success", "received": "info", "damaged": "danger", "expired": "default"}
OUT = {MachineState.PENDING: "waits for approval", MachineState.REVOKED: "revoked",
       MachineState.DECOMMISSIONED: "decommissioned"}  # fmt: skip
CLOCK_NOTED = 60
"""Seconds that a machine's clock may be wrong before the page speaks of it."""


class MachineColumns:
    """Columns and fields, for a page whose rows come `with_presence(with_last_snapshot(…))`."""

    @display(description="Presence", label=PRESENCE_COLOURS)
    def presence(self, machine):
        if machine.state in OUT:
            return OUT[machine.state]
        return "online" if machine.online else ("away", f"seen {showing.ago(machine.seen_at)}")

    @display(description="Presence")
    def presence_text(self, machine):
        shown = self.presence(machine)
        return shown if isinstance(shown, str) else shown[1]

    @display(description="Look at")
    def lists_shown(self, machine):
        """To what is there of it: people come for its snapshots, and for why there is none."""
        lists = (("its snapshots", "catalog_snapshot"), ("its jobs", "jobs_job"))
        links = [(reverse(f"admin:{name}_changelist"), machine.pk, words) for words, name in lists]
        return format_html_join(" · ", '<a class="sr-next" href="{}?machine__id__exact={}">{}</a>', links)

    @display(description="Groups")
    def groups_shown(self, machine):
        return ", ".join(sorted(group.name for group in machine.groups.all())) or showing.NOTHING

    @display(description="Tags")
    def tags_shown(self, machine):
        return ", ".join(str(tag) for tag in machine.tags) or showing.NOTHING

    @display(description="System")
    def system(self, machine):
        return machine.facts.get("os") or showing.NOTHING

    @display(description="Last snapshot", ordering="last_received_at")
    def last_snapshot(self, machine):
        return showing.moment(machine.last_received_at) if machine.last_received_at else "none yet"

    @display(description="State", ordering="last_snapshot_state", label=STATE_COLOURS)
    def last_state(self, machine):
        return machine.last_snapshot_state or None

    @display(description="Rights")
    def rights(self, machine):
        return "write-only" if machine.write_only else "reads its own"

    @display(description="Backups paused")
    def paused_shown(self, machine):
        return showing.moment(machine.paused_at) if machine.paused_at else "no"

    @display(description="Facts")
    def facts_shown(self, machine):
        return ", ".join(f"{key}: {value}" for key, value in sorted(machine.facts.items())) or showing.NOTHING

    @display(description="Clock")
    def clock_shown(self, machine):
        wrong = abs(machine.clock_offset)
        if wrong < CLOCK_NOTED:
            return "right"
        return f"{showing.duration(wrong)} {'ahead' if machine.clock_offset > 0 else 'behind'}: set it right"

    @display(description="Had to try again")
    def retries_shown(self, machine):
        return ", ".join(f"{kind}: {count}" for kind, count in sorted(machine.retries.items())) or "never"

    @display(description="Enrolled")
    def enrolled_shown(self, machine):
        return showing.moment(machine.enrolled_at)

    @display(description="Last seen")
    def seen_shown(self, machine):
        return showing.moment(machine.seen_at)

    @display(description="Connected since")
    def connected_shown(self, machine):
        return showing.moment(machine.connected_at) if machine.online else showing.NOTHING

    @display(description="Certificate until")
    def certificate_shown(self, machine):
        return f"{machine.certificate_until:%Y-%m-%d %H:%M} UTC"

    @display(description="Access ended")
    def revoked_shown(self, machine):
        return showing.moment(machine.revoked_at)

    @display(description="Fingerprint of its identity key")
    def fingerprint_shown(self, machine):
        return showing.code(fingerprint(machine))

    @display(description="Machine record")
    def record_shown(self, machine):
        return "published" if machine.record else "not published yet"
