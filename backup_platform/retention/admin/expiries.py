"""Expired snapshots with the way back, and the page that previews what rules would drop."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import Http404
from django.shortcuts import redirect
from django.urls import path
from django.utils import timezone
from unfold.decorators import action, display

from backup_platform.catalog.models import SnapshotState
from backup_platform.console import showing
from backup_platform.console.asking import AskingAdmin, Question
from backup_platform.console.model_admin import TENANT_FILTER, TenantModelAdmin
from backup_platform.console.site import asking
from backup_platform.retention.admin.preview_page import preview_page
from backup_platform.retention.errors import RetentionRefused
from backup_platform.retention.models import Expiry
from backup_platform.retention.services import MANAGE, bring_back
from backup_platform.tenants.access import can

COLOURS = {"can be brought back": "info", "brought back": "success", "gone for good": "default"}


class WhatBecame(admin.SimpleListFilter):
    """The question that people come with."""

    title = "what became of it"
    parameter_name = "became"

    def lookups(self, request, model_admin):
        return [("expired", "Expired"), ("back", "Brought back"), ("gone", "Gone for good")]

    def queryset(self, request, queryset):
        ways: dict[str, dict[str, Any]] = {
            "expired": {"brought_back_at": None, "snapshot__state": SnapshotState.EXPIRED},
            "back": {"brought_back_at__isnull": False},
            "gone": {"snapshot__state": SnapshotState.RECLAIMED},
        }
        way = ways.get(self.value() or "")
        return queryset.filter(**way) if way else queryset


@admin.register(Expiry)
class ExpiryAdmin(AskingAdmin, TenantModelAdmin):
    """What expired, the newest first."""

    list_display = ["machine_shown", "received_shown", "became_shown", "at_shown", "until_shown", "because", "by",
                    "tenant"]  # fmt: skip
    list_filter = [WhatBecame, TENANT_FILTER]
    search_fields = ["snapshot__machine__name"]
    list_select_related = ["snapshot__machine", "tenant"]
    fields = ["machine_shown", "snapshot", "received_shown", "became_shown", "because", "by", "at_shown",
              "until_shown", "back_shown", "brought_back_by", "protected_shown", "tenant"]  # fmt: skip
    when_empty = "What expires is listed here, and can be brought back for some days. The preview says what goes next."
    actions_detail = ["bring_back"]
    actions_list = ["preview_action"]

    def get_queryset(self, request):
        """Without the columns that hold a snapshot's references: they may be megabytes."""
        heavy = [f"snapshot__{name}" for name in ("bitmap", "blocks", "recipients", "statement")]
        return super().get_queryset(request).select_related("snapshot__machine").defer(*heavy)

    def title_of(self, obj):
        """Whose snapshot, and of when."""
        return f"{obj.snapshot.machine.name} as of {obj.snapshot.received_at:%Y-%m-%d %H:%M} UTC"

    def get_urls(self):
        """The preview, before Django's own."""
        page = self.admin_site.admin_view(self.preview)
        return [path("preview/", page, name="retention_expiry_preview"), *super().get_urls()]

    def preview(self, request):
        """What the rules in force, or others, would drop."""
        return preview_page(self, request)

    @action(description="Retention preview", icon="visibility", url_path="to-preview")
    def preview_action(self, request):
        """To the page that says what would go next."""
        return redirect("admin:retention_expiry_preview")

    def has_bring_back_permission(self, request, object_id=None):
        """Whether this person may bring this snapshot back, and it can be."""
        if not can(asking(request), MANAGE):
            return False
        row = self.get_object(request, object_id) if object_id else None
        return row is None or (row.brought_back_at is None and row.snapshot.state == SnapshotState.EXPIRED)

    @action(description="Bring back", icon="undo", permissions=["bring_back"], url_path="bring-back")
    def bring_back(self, request, object_id):
        """Ask, then undo the expiry. A GET only asks."""
        row = self.get_object(request, object_id)
        if row is None:
            raise Http404
        may = can(asking(request), MANAGE, row.snapshot)
        return self.ask_or_act(request, object_id, may, _question, lambda one, _: _back(request, one),
                               (RetentionRefused,))  # fmt: skip

    @display(description="Machine", ordering="snapshot__machine__name")
    def machine_shown(self, expiry):
        return expiry.snapshot.machine.name

    @display(description="Snapshot of")
    def received_shown(self, expiry):
        return f"{expiry.snapshot.received_at:%Y-%m-%d %H:%M} UTC"

    @display(description="State", label=COLOURS)
    def became_shown(self, expiry):
        if expiry.brought_back_at:
            return "brought back"
        return "gone for good" if expiry.snapshot.state == SnapshotState.RECLAIMED else "can be brought back"

    @display(description="Expired", ordering="at")
    def at_shown(self, expiry):
        return showing.moment(expiry.at)

    @display(description="Data stays until", ordering="until")
    def until_shown(self, expiry):
        return f"{expiry.until:%Y-%m-%d %H:%M} UTC"

    @display(description="Brought back")
    def back_shown(self, expiry):
        return showing.moment(expiry.brought_back_at)

    @display(description="No rule drops it before")
    def protected_shown(self, expiry):
        until = expiry.protected_until
        return f"{until:%Y-%m-%d %H:%M} UTC" if until and until > timezone.now() else showing.NOTHING


def _question(row):
    received = f"{row.snapshot.received_at:%Y-%m-%d %H:%M}"
    text = ("It is listed and can be restored again. No rule drops it for as many days as it could be brought back; "
            "to keep it longer, give it a tag that a rule keeps, or set a hold.")  # fmt: skip
    return Question(f"Bring back the snapshot of {received}?", (text,), "Bring it back", danger=False)


def _back(request, row):
    state = bring_back(row.snapshot, by=asking(request))
    checked = "" if state == SnapshotState.VERIFIED else " It is checked anew before it counts as good."
    return f"The snapshot is back.{checked}"
