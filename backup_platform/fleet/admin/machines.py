"""Machines. They enrol themselves; people look, let them in, and take access away."""

from __future__ import annotations

from django.contrib import admin
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import action
from unfold.enums import ActionVariant

from backup_platform.console.asking import Question
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
from backup_platform.jobs.admin.drill_acts import MachineDrills
from backup_platform.jobs.agent_jobs import pause_machine, resume_machine
from backup_platform.tenants.access import can

from .machine_columns import MachineColumns

SNAPSHOTS_STAY = "Its snapshots stay, and can be restored with the vault's kit."


@admin.register(Machine)
class MachineAdmin(MachineColumns, MachinePlaces, MachineDrills, TenantModelAdmin):
    """Machines, with who is online, their groups and their newest snapshot."""

    allowed = frozenset({"view", "change"})
    list_display = ["name", "presence", "tenant", "groups_shown", "system", "last_snapshot", "last_state", "tags_shown"]
    list_filter = ["state", ("groups", AutocompleteSelectFilter), "write_only", VAULT_FILTER, TENANT_FILTER]
    search_fields = ["name", "tags"]
    list_select_related = ["tenant", "vault"]
    actions_detail = [*MachinePlaces.actions_detail_of_places, "approve", "refuse", "pause", "go_on", "drill",
                      {"title": "Take away", "icon": "block", "items": ["revoke", "decommission"]}]  # fmt: skip
    fieldsets = [
        (None, {"fields": ["name", "lists_shown", "presence_text", "tenant", "vault", "groups_shown", "tags_shown",
                           "rights", "last_snapshot", "last_state", "proven_shown", "paused_shown"]}),
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

    def has_pause_permission(self, request, object_id=None):
        """Whether this person may pause machines; offered where one is in service and not paused."""
        return self._may_pause(request, object_id, paused=False)

    def has_resume_permission(self, request, object_id=None):
        """Whether this person may resume machines; offered where one is paused."""
        return self._may_pause(request, object_id, paused=True)

    def _may_pause(self, request, object_id, *, paused):
        state = Machine.objects.filter(pk=object_id, state=MachineState.ACTIVE, paused_at__isnull=not paused)
        allowed = self.has_view_permission(request) and can(asking(request), "jobs.run")
        return allowed and (not self._is_its_page(request, object_id) or state.exists())

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
        fits = (
            not self._is_its_page(request, object_id) or Machine.objects.filter(pk=object_id, state__in=states).exists()
        )
        return self.may(request, "change") and fits

    def _is_its_page(self, request, object_id):
        return object_id is not None and request.resolver_match.url_name.endswith("_change")

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

    @action(description="Pause backups", icon="pause", permissions=["pause"])
    def pause(self, request, object_id):
        """Offer the machine no backups for a while."""

        def question(machine):
            text = ("No backup begins there until somebody resumes it. What runs goes on; restores are not affected. "
                    "You are still told when its newest snapshot gets old.")  # fmt: skip
            return Question(f"Pause backups of {machine.name}?", (text,), "Pause", False)

        def act(machine, _reason):
            return "Paused." if pause_machine(machine, asking(request).name) else "It was paused before."

        return self.ask_or_act(request, object_id, can(asking(request), "jobs.run"), question, act)

    @action(description="Resume backups", icon="play_arrow", permissions=["resume"])
    def go_on(self, request, object_id):
        """Offer it backups again."""

        def question(machine):
            return Question(f"Resume backups of {machine.name}?", ("What waits begins at once.",), "Resume", False)

        def act(machine, _reason):
            return "Resumed." if resume_machine(machine, asking(request).name) else "It was not paused."

        return self.ask_or_act(request, object_id, can(asking(request), "jobs.run"), question, act)

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
