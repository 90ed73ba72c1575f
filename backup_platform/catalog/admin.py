"""What is stored: read-only, for only agents and workers write here."""

from __future__ import annotations

from django.contrib import admin
from unfold.decorators import display

from backup_platform.catalog import places
from backup_platform.catalog.models import Pack, PackState, Session, SessionState, Snapshot, SnapshotState
from backup_platform.console import showing
from backup_platform.console.model_admin import MACHINE_FILTER, TENANT_FILTER, VAULT_FILTER, TenantModelAdmin
from backup_platform.jobs.admin.drill_acts import SnapshotDrills
from backup_platform.jobs.admin.restore_acts import SnapshotRestores
from backup_platform.retention.admin.snapshot_acts import SnapshotRetention

SNAPSHOT_COLOURS = {
    SnapshotState.VERIFIED.label: "success",
    SnapshotState.RECEIVED.label: "info",
    SnapshotState.DAMAGED.label: "danger",
    SnapshotState.EXPIRED.label: "default",
    SnapshotState.RECLAIMED.label: "default",
}
SESSION_COLOURS = {
    SessionState.OPEN.label: "info",
    SessionState.COMMITTED.label: "success",
    SessionState.ENDED.label: "default",
    SessionState.ABANDONED.label: "warning",
}
PACK_COLOURS = {
    PackState.OPEN.label: "info",
    PackState.SEALED.label: "info",
    PackState.VERIFIED.label: "success",
    PackState.DAMAGED.label: "danger",
}


@admin.register(Snapshot)
class SnapshotAdmin(SnapshotRetention, SnapshotDrills, SnapshotRestores, TenantModelAdmin):
    """Snapshots, newest first."""

    list_display = ["machine", "received_shown", "state_shown", "proven_shown", "size_shown", "sent_shown",
                    "dedup_shown", "files_shown", "duration_shown", "tenant"]  # fmt: skip
    list_filter = ["state", VAULT_FILTER, TENANT_FILTER, MACHINE_FILTER]
    actions_detail = ["restore", "drill", "tag", "hold", "expire_now", "bring_back"]
    search_fields = ["machine__name"]
    list_select_related = ["machine", "tenant"]
    fieldsets = [
        (None, {"fields": ["machine", "state_shown", "fault", "received_shown", "machine_time_shown",
                           "verified_shown", "proven_shown"]}),
        ("How long it stays", {"fields": ["stays_shown", "policy", "tags_shown"]}),
        ("Content", {"fields": ["size_shown", "files_shown", "errors_shown", "sent_shown", "stored_shown",
                                "places_shown", "dedup_shown", "duration_shown"]}),
        ("Identity", {"fields": ["id_shown", "sequence", "vault", "tenant", "root_shown"]}),
    ]  # fmt: skip

    def title_of(self, obj):
        """Whose, and of when: its id says that to nobody."""
        return f"{obj.machine.name} as of {obj.received_at:%Y-%m-%d %H:%M} UTC"

    def get_queryset(self, request):
        """Without the columns that hold a snapshot's references: they may be megabytes."""
        return super().get_queryset(request).defer("bitmap", "blocks", "recipients", "statement")

    @display(description="State", ordering="state", label=SNAPSHOT_COLOURS)
    def state_shown(self, snapshot):
        return snapshot.get_state_display()

    @display(description="Received", ordering="received_at")
    def received_shown(self, snapshot):
        return showing.moment(snapshot.received_at)

    @display(description="The machine's own time")
    def machine_time_shown(self, snapshot):
        return f"{snapshot.machine_time:%Y-%m-%d %H:%M:%S} UTC"

    @display(description="Verified")
    def verified_shown(self, snapshot):
        return showing.moment(snapshot.verified_at)

    @display(description="Size")
    def size_shown(self, snapshot):
        return showing.size(snapshot.statistics.get("bytes"))

    @display(description="Sent")
    def sent_shown(self, snapshot):
        return showing.size(snapshot.statistics.get("bytes_sent"))

    @display(description="Where it is stored")
    def places_shown(self, snapshot):
        return places.words_for_snapshot(snapshot)

    @display(description="Stored, shared included")
    def stored_shown(self, snapshot):
        return showing.size(snapshot.stored_bytes)

    @display(description="Saved")
    def dedup_shown(self, snapshot):
        return showing.ratio(snapshot.statistics.get("bytes"), snapshot.statistics.get("bytes_sent"))

    @display(description="Files")
    def files_shown(self, snapshot):
        return showing.number(snapshot.statistics.get("files"))

    @display(description="Unreadable")
    def errors_shown(self, snapshot):
        return showing.number(snapshot.statistics.get("errors"))

    @display(description="Took")
    def duration_shown(self, snapshot):
        return showing.duration(snapshot.statistics.get("duration_s"))

    @display(description="Id")
    def id_shown(self, snapshot):
        return showing.code(snapshot.pk.hex)

    @display(description="Root (BLAKE3)")
    def root_shown(self, snapshot):
        return showing.code(bytes(snapshot.root_hash).hex())


@admin.register(Session)
class SessionAdmin(TenantModelAdmin):
    """Backups that run, and those that lately did."""

    list_display = ["machine", "state_shown", "begun_shown", "seen_shown", "ended_shown", "gateway", "tenant"]
    list_filter = ["state", VAULT_FILTER, TENANT_FILTER]
    search_fields = ["machine__name", "gateway"]
    list_select_related = ["machine", "tenant"]
    fields = ["machine", "state_shown", "tenant", "vault", "gateway", "fence", "generation", "begun_shown",
              "seen_shown", "ended_shown"]  # fmt: skip

    @display(description="State", ordering="state", label=SESSION_COLOURS)
    def state_shown(self, session):
        return session.get_state_display()

    @display(description="Begun", ordering="begun_at")
    def begun_shown(self, session):
        return showing.moment(session.begun_at)

    @display(description="Last heard", ordering="last_seen_at")
    def seen_shown(self, session):
        return showing.moment(session.last_seen_at)

    @display(description="Ended", ordering="ended_at")
    def ended_shown(self, session):
        return showing.moment(session.ended_at)


@admin.register(Pack)
class PackAdmin(TenantModelAdmin):
    """Packs and where they are."""

    list_display = ["uid_shown", "state_shown", "place", "size_shown", "records_shown", "opened_shown",
                    "verified_shown", "vault", "tenant"]  # fmt: skip
    list_filter = ["state", "place", VAULT_FILTER, TENANT_FILTER]
    list_select_related = ["vault", "tenant"]
    search_fields = ["=uid"]
    fields = ["uid_shown", "state_shown", "fault", "place", "places_shown", "size_shown", "records_shown",
              "digest_shown", "machine", "vault", "tenant", "opened_shown", "sealed_shown", "verified_shown",
              "deduplicated_shown"]  # fmt: skip

    @display(description="Pack")
    def uid_shown(self, pack):
        return showing.code(pack.uid.hex, 12)

    @display(description="State", ordering="state", label=PACK_COLOURS)
    def state_shown(self, pack):
        return pack.get_state_display()

    @display(description="Size", ordering="bytes")
    def size_shown(self, pack):
        return showing.size(pack.bytes)

    @display(description="Where it is stored")
    def places_shown(self, pack):
        return places.words_for_pack(pack)

    @display(description="Records", ordering="records")
    def records_shown(self, pack):
        return showing.number(pack.records)

    @display(description="Digest (BLAKE3)")
    def digest_shown(self, pack):
        return showing.code(bytes(pack.digest).hex()) if pack.digest else showing.NOTHING

    @display(description="Opened", ordering="opened_at")
    def opened_shown(self, pack):
        return showing.moment(pack.opened_at)

    @display(description="Sealed")
    def sealed_shown(self, pack):
        return showing.moment(pack.sealed_at)

    @display(description="Verified", ordering="verified_at")
    def verified_shown(self, pack):
        return showing.moment(pack.verified_at)

    @display(description="Deduplicated")
    def deduplicated_shown(self, pack):
        return showing.moment(pack.deduplicated_at)
