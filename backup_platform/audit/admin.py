"""The audit, read-only by rights, trigger and page."""

from __future__ import annotations

import json

from django.contrib import admin
from unfold.contrib.filters.admin import FieldTextFilter
from unfold.decorators import display

from backup_platform.audit.models import Entry
from backup_platform.console import showing
from backup_platform.console.model_admin import TENANT_FILTER, TenantModelAdmin


@admin.register(Entry)
class EntryAdmin(TenantModelAdmin):
    """Lines of the audit, newest first."""

    list_display = ["at_shown", "verb", "actor", "object_shown", "detail_shown", "tenant"]
    list_filter = [("verb", FieldTextFilter), TENANT_FILTER]
    search_fields = ["verb", "actor", "object"]
    list_select_related = ["tenant"]
    fields = ["at_shown", "verb", "actor", "object", "tenant", "detail_whole", "previous_shown", "digest_shown"]

    @display(description="When", ordering="id")
    def at_shown(self, entry):
        return f"{entry.at:%Y-%m-%d %H:%M:%S}"

    @display(description="Object")
    def object_shown(self, entry):
        kind, _, name = entry.object.partition(":")
        return f"{kind} {name[:8]}".strip() or showing.NOTHING

    @display(description="Detail")
    def detail_shown(self, entry):
        text = ", ".join(f"{key}: {value}" for key, value in entry.detail.items())
        return text if len(text) <= 80 else f"{text[:79]}…"

    @display(description="Detail")
    def detail_whole(self, entry):
        return json.dumps(entry.detail, indent=1, ensure_ascii=False)

    @display(description="Digest of the line before")
    def previous_shown(self, entry):
        return showing.code(bytes(entry.previous).hex())

    @display(description="Digest")
    def digest_shown(self, entry):
        return showing.code(bytes(entry.digest).hex())
