"""Reclaim for people: how it stands, each vault's rounds, what they took away and wait for, and the pause."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from unfold.decorators import action, display

from backup_platform.console import showing
from backup_platform.console.asking import AskingAdmin, Question
from backup_platform.console.model_admin import TENANT_FILTER, VAULT_FILTER, TenantModelAdmin
from backup_platform.console.site import asking
from backup_platform.tenants.access import Actor, may
from backup_platform.upkeep.admin.reclaim_words import judge, shown_pauses
from backup_platform.upkeep.errors import ReclaimRefused
from backup_platform.upkeep.models import ReclaimRound, RoundState
from backup_platform.upkeep.pauses import is_paused, pauses_seen, reclaimed, stored_at_all
from backup_platform.upkeep.services import pause_for_a_reason, resume_reclaim

COLOURS = {
    RoundState.MARKING.label: "info",
    RoundState.CONDEMNED.label: "info",
    RoundState.REMOVING.label: "info",
    RoundState.DONE.label: "success",
    RoundState.STOPPED.label: "danger",
}
PAUSING = (
    "Nothing is removed and no pack is rewritten until somebody resumes it. Backups, restores and expiry go on; what "
    "expires keeps its place on disk meanwhile."
)


@admin.register(ReclaimRound)
class ReclaimRoundAdmin(AskingAdmin, TenantModelAdmin):
    """Rounds, newest first, under how reclaim stands. Rounds are never changed; the right to change is the pause's."""

    list_before_template = "upkeep/reclaim_list.html"
    when_empty = "Each vault is gone through once a day, the first time within a day after its first backup."
    actions_list = ["pause", "resume"]
    list_display = ["started_shown", "vault", "state_shown", "retired_shown", "removed_in_short", "packs_shown",
                    "because_shown", "tenant"]  # fmt: skip
    list_filter = ["state", VAULT_FILTER, TENANT_FILTER]
    list_select_related = ["vault", "tenant"]
    fields = ["number", "vault", "tenant", "state_shown", "fault", "waits_for", "started_shown", "condemned_shown",
              "ended_shown", "snapshots_shown", "retired_shown", "condemned_chunks_shown", "revived_shown",
              "removed_shown", "removed_bytes_shown", "packs_shown", "pack_bytes_shown", "accepted_by"]  # fmt: skip

    def title_of(self, obj: ReclaimRound) -> str:
        """Which round, of which vault."""
        return f"round {obj.number} of {obj.vault.name}"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """With how reclaim stands, and who has paused it, above the list."""
        if not self.has_view_permission(request):
            return super().changelist_view(request, extra_context)
        actor = asking(request)
        everywhere, pauses = actor.tenant is None, pauses_seen(_whose(actor))
        standing = judge(pauses, reclaimed(), everywhere, stored_at_all())
        shown = shown_pauses(pauses, everywhere=everywhere, staff=actor.is_platform_staff)
        more = {"standing": standing, "pauses": shown}
        return super().changelist_view(request, {**(extra_context or {}), **more})

    def has_pause_permission(self, request: HttpRequest) -> bool:
        """Whether this person may pause reclaim, where they are, and it is not paused there."""
        return self._may_act(request) and not is_paused(_whose(asking(request)))

    def has_resume_permission(self, request: HttpRequest) -> bool:
        """Whether this person may resume it, where they are: a tenant does not end the platform's own pause."""
        actor = asking(request)
        return self._may_act(request) and is_paused(_whose(actor), endable_by_staff=actor.is_platform_staff)

    def _may_act(self, request: HttpRequest) -> bool:
        return may(asking(request), "change", self.model._meta.label)

    @action(description="Pause reclaim", icon="pause", permissions=["pause"])
    def pause(self, request: HttpRequest) -> HttpResponse:
        """Ask why, then pause it: for the tenant, or everywhere where all tenants are shown. A GET only asks."""
        actor = asking(request)
        staff = actor.is_platform_staff

        def act(reason: str) -> str:
            made = pause_for_a_reason(_whose(actor), by=actor.name, reason=reason, staff=staff)
            return "Reclaim is paused." if made else "It was paused before; the first reason stays."

        where = f"of {actor.tenant.name}" if actor.tenant else "of every tenant"
        shown = "Tenants see that the platform has paused it and since when, not why and who." if staff else ""
        question = Question(f"Pause reclaim {where}?", tuple(filter(None, (PAUSING, shown))), "Pause reclaim",
                            danger=False, reason="Why")  # fmt: skip
        return self.ask_or_act_here(request, question, act, (ReclaimRefused,))

    @action(description="Resume reclaim", icon="play_arrow", permissions=["resume"])
    def resume(self, request: HttpRequest) -> HttpResponse:
        """Ask, then end the pause. A GET only asks."""
        actor = asking(request)

        def act(_reason: str) -> str:
            ended = resume_reclaim(_whose(actor), by=actor.name, staff=actor.is_platform_staff)
            return "Reclaim goes on within minutes." if ended else "It was not paused any more."

        own = [pause for pause in pauses_seen(_whose(actor)) if pause.tenant_id == _whose(actor)]
        shown = shown_pauses(own, everywhere=actor.tenant is None, staff=actor.is_platform_staff)
        said = tuple(line for one in shown for line in one.values() if line)
        then = "What is due is removed again, within minutes."
        question = Question("Resume reclaim?", (*said, then), "Resume reclaim", danger=False)
        return self.ask_or_act_here(request, question, act, (ReclaimRefused,))

    @display(description="Why it waits or stopped")
    def because_shown(self, row: ReclaimRound) -> Any:
        said = row.fault or (row.waits_for if row.ended_at is None else "")
        return format_html('<span class="sr-reason">{}</span>', said) if said else showing.NOTHING

    @display(description="Begun", ordering="started_at")
    def started_shown(self, row: ReclaimRound) -> Any:
        return showing.moment(row.started_at)

    @display(description="Condemned")
    def condemned_shown(self, row: ReclaimRound) -> Any:
        return showing.moment(row.condemned_at)

    @display(description="Ended")
    def ended_shown(self, row: ReclaimRound) -> Any:
        return showing.moment(row.ended_at)

    @display(description="State", ordering="state", label=COLOURS)
    def state_shown(self, row: ReclaimRound) -> Any:
        return row.get_state_display()

    @display(description="Snapshots that count")
    def snapshots_shown(self, row: ReclaimRound) -> Any:
        return showing.number(row.snapshots)

    @display(description="Snapshots retired")
    def retired_shown(self, row: ReclaimRound) -> Any:
        return showing.number(row.retired)

    @display(description="Chunks condemned")
    def condemned_chunks_shown(self, row: ReclaimRound) -> Any:
        return showing.number(row.condemned)

    @display(description="Chunks revived")
    def revived_shown(self, row: ReclaimRound) -> Any:
        return showing.number(row.revived)

    @display(description="Chunks removed")
    def removed_shown(self, row: ReclaimRound) -> Any:
        return showing.number(row.removed)

    @display(description="Chunks removed")
    def removed_in_short(self, row: ReclaimRound) -> Any:
        """Both figures in one column: the reason beside it needs the room."""
        if not row.removed:
            return showing.NOTHING
        return f"{showing.number(row.removed)}, {showing.size(row.removed_bytes)}"

    @display(description="Bytes removed")
    def removed_bytes_shown(self, row: ReclaimRound) -> Any:
        return showing.size(row.removed_bytes)

    @display(description="Packs emptied")
    def packs_shown(self, row: ReclaimRound) -> Any:
        return showing.number(row.packs)

    @display(description="Bytes of these packs")
    def pack_bytes_shown(self, row: ReclaimRound) -> Any:
        return showing.size(row.pack_bytes)


def _whose(actor: Actor) -> Any:
    """The tenant whose reclaim is meant; None: everybody's."""
    return actor.tenant.pk if actor.tenant else None
