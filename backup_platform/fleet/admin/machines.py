"""Machines. They enrol themselves; people look, let them in, and take access away."""

from __future__ import annotations

from django.contrib import admin
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import action, display
from unfold.enums import ActionVariant

from backup_platform.console import showing
from backup_platform.console.asking import AskingAdmin, Question
from backup_platform.console.model_admin import TENANT_FILTER, VAULT_FILTER, TenantModelAdmin
from backup_platform.console.site import asking
from backup_platform.fleet.approval import (
    approve_machine,
    decommission_machine,
    fingerprint,
    refuse_machine,
    revoke_machine,
)
from backup_platform.fleet.errors import StateRefused
from backup_platform.fleet.models import Machine, MachineState
from backup_platform.fleet.places_admin import MachinePlaces
from backup_platform.fleet.presence import with_presence
from backup_platform.fleet.queries import with_last_snapshot

PRESENCE_COLOURS = {"online": "success", "away": "default", "waits for approval": "warning", "revoked": "danger",
                    "decommissioned": "default"}  # fmt: skip
STATE_COLOURS = {"verified": "success", "received": "info", "damaged": "danger", "expired": "default"}
OUT = {MachineState.PENDING: "waits for approval", MachineState.REVOKED: "revoked",
       MachineState.DECOMMISSIONED: "decommissioned"}  # fmt: skip
SNAPSHOTS_STAY = "Its snapshots stay, and can be restored with the vault's kit."
CLOCK_NOTED = 60
"""Seconds that a machine's clock may be wrong before the page speaks of it."""


@admin.register(Machine)
class MachineAdmin(MachinePlaces, AskingAdmin, TenantModelAdmin):
    """Machines, with who is online, their groups and their newest snapshot."""

    allowed = frozenset({"view", "change"})
    list_display = ["name", "presence", "tenant", "groups_shown", "system", "last_snapshot", "last_state", "tags_shown"]
    list_filter = ["state", ("groups", AutocompleteSelectFilter), "write_only", VAULT_FILTER, TENANT_FILTER]
    search_fields = ["name", "tags"]
    list_select_related = ["tenant", "vault"]
    actions_detail = [*MachinePlaces.actions_detail_of_places, "approve", "refuse", "revoke", "decommission"]
    fieldsets = [
        (None, {"fields": ["name", "presence_text", "tenant", "vault", "groups_shown", "tags_shown", "rights",
                           "last_snapshot", "last_state", "paused_shown"]}),
        ("What it says of itself", {"fields": ["facts_shown", "zone", "clock_shown", "retries_shown"]}),
        ("Times", {"fields": ["enrolled_shown", "seen_shown", "connected_shown", "certificate_shown",
                              "revoked_shown"]}),
        ("Keys", {"fields": ["fingerprint_shown", "record_shown"]}),
    ]  # fmt: skip

    def get_queryset(self, request):
        """With presence, groups and each machine's newest snapshot: a bounded number of queries a page."""
        return with_presence(with_last_snapshot(super().get_queryset(request))).prefetch_related("groups")

    def has_change_permission(self, request, obj=None):
        """No field can be edited here; the right to change is the right to act."""
        return False

    def has_decide_permission(self, request, object_id=None):
        """Whether this person decides about machines; offered where one waits."""
        return self._offers(request, object_id, [MachineState.PENDING])

    def has_revoke_permission(self, request, object_id=None):
        """Whether this person may revoke machines; offered where one has access."""
        return self._offers(request, object_id, [MachineState.ACTIVE, MachineState.PENDING])

    def has_retire_permission(self, request, object_id=None):
        """Whether this person may decommission machines; offered until it is done."""
        return self._offers(
            request, object_id, [state for state in MachineState if state != MachineState.DECOMMISSIONED]
        )

    def _offers(self, request, object_id, states):
        """The right; and on the machine's own page, whether the act fits its state. The services check that again."""
        on_its_page = object_id is not None and request.resolver_match.url_name.endswith("_change")
        fits = not on_its_page or Machine.objects.filter(pk=object_id, state__in=states).exists()
        return self.may(request, "change") and fits

    @action(description="Approve", icon="verified_user", variant=ActionVariant.PRIMARY, permissions=["decide"])
    def approve(self, request, object_id):
        """Let a waiting machine in, after its fingerprint was compared."""

        def question(machine):
            text = ("Compare this fingerprint with the one that the machine itself shows (strongroom status), read to "
                    "you by somebody who sits at it. Approve only if all of it is the same.")  # fmt: skip
            return Question(f"Approve {machine.name}?", (text,), "It is the same: approve", False,
                            code=fingerprint(machine))  # fmt: skip

        def act(machine, _reason):
            approve_machine(machine, by=asking(request))
            return f"{machine.name} may connect now."

        return self.ask_or_act(request, object_id, self.may(request, "change"), question, act, (StateRefused,))

    @action(description="Refuse", icon="block", variant=ActionVariant.DANGER, permissions=["decide"])
    def refuse(self, request, object_id):
        """Turn a waiting machine away."""

        def question(machine):
            text = "It will not be able to connect. Whoever set it up needs a new enrolment string to try again."
            return Question(f"Refuse {machine.name}?", (text,), "Refuse it")

        def act(machine, _reason):
            refuse_machine(machine, by=asking(request))
            return f"{machine.name} was turned away."

        return self.ask_or_act(request, object_id, self.may(request, "change"), question, act, (StateRefused,))

    @action(description="Revoke access", icon="block", variant=ActionVariant.DANGER, permissions=["revoke"])
    def revoke(self, request, object_id):
        """Ask, then take access away at once."""

        def question(machine):
            text = (f"{machine.name} will not be able to connect any more; an open connection ends within seconds. It "
                    "can be enrolled again later, as a new machine.")  # fmt: skip
            return Question(f"Revoke {machine.name}?", (text, SNAPSHOTS_STAY), "Revoke access")

        def act(machine, _reason):
            if revoke_machine(machine, actor=asking(request)):
                return f"{machine.name} cannot connect any more. Its snapshots stay."
            return f"{machine.name} had no access before."

        return self.ask_or_act(request, object_id, self.may(request, "change"), question, act)

    @action(description="Decommission", icon="logout", variant=ActionVariant.DANGER, permissions=["retire"])
    def decommission(self, request, object_id):
        """Take a machine out of service, saying why."""

        def question(machine):
            text = (f"{machine.name} is out of service for good: it cannot connect, no policy applies to it, and "
                    "nobody is warned that its backups are missing.")  # fmt: skip
            return Question(f"Decommission {machine.name}?", (text, SNAPSHOTS_STAY), "Decommission",
                            reason="Why? This stands in the audit.")  # fmt: skip

        def act(machine, reason):
            decommission_machine(machine, by=asking(request), reason=reason)
            return f"{machine.name} was decommissioned. Its snapshots stay."

        return self.ask_or_act(request, object_id, self.may(request, "change"), question, act, (StateRefused,))

    @display(description="Presence", label=PRESENCE_COLOURS)
    def presence(self, machine):
        if machine.state in OUT:
            return OUT[machine.state]
        return "online" if machine.online else ("away", f"seen {showing.ago(machine.seen_at)}")

    @display(description="Presence")
    def presence_text(self, machine):
        shown = self.presence(machine)
        return shown if isinstance(shown, str) else shown[1]

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
