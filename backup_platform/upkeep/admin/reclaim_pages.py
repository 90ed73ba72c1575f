"""Reclaim for people: each vault's rounds, what they took away, and what they wait for."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from unfold.decorators import display

from backup_platform.console import showing
from backup_platform.console.model_admin import TENANT_FILTER, VAULT_FILTER, TenantModelAdmin
from backup_platform.upkeep.models import ReclaimRound, RoundState

COLOURS = {
    RoundState.MARKING.label: "info",
    RoundState.CONDEMNED.label: "info",
    RoundState.REMOVING.label: "info",
    RoundState.DONE.label: "success",
    RoundState.STOPPED.label: "danger",
}


@admin.register(ReclaimRound)
class ReclaimRoundAdmin(TenantModelAdmin):
    """Rounds, newest first. Nothing is done here: `manage.py reclaim` pauses, resumes and carries on."""

    list_display = ["started_shown", "vault", "state_shown", "retired_shown", "removed_shown", "removed_bytes_shown",
                    "packs_shown", "waits_for", "fault", "tenant"]  # fmt: skip
    list_filter = ["state", VAULT_FILTER, TENANT_FILTER]
    list_select_related = ["vault", "tenant"]
    fields = ["number", "vault", "tenant", "state_shown", "fault", "waits_for", "started_shown", "condemned_shown",
              "ended_shown", "snapshots_shown", "retired_shown", "condemned_chunks_shown", "revived_shown",
              "removed_shown", "removed_bytes_shown", "packs_shown", "pack_bytes_shown", "accepted_by"]  # fmt: skip

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

    @display(description="Of so many bytes")
    def removed_bytes_shown(self, row: ReclaimRound) -> Any:
        return showing.size(row.removed_bytes)

    @display(description="Packs emptied")
    def packs_shown(self, row: ReclaimRound) -> Any:
        return showing.number(row.packs)

    @display(description="Bytes of these packs")
    def pack_bytes_shown(self, row: ReclaimRound) -> Any:
        return showing.size(row.pack_bytes)
