"""What pages say of packs that are fetched from cold storage: since when, for whom, and which can be read by now."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import Count, Sum
from django.utils import timezone

from backup_platform.catalog.models import Copy
from backup_platform.console import showing
from backup_platform.tenants.scope import tenant_scope
from backup_platform.tiering.words import packs_words

LONGEST = timedelta(days=4)
"""The slowest class takes two days. What nobody looked at since is hardly on its way any more."""
CHOICES = [("under-way", "Being thawed"), ("thawed", "Thawed")]


class ThawFilter(admin.SimpleListFilter):
    """Copies that were asked for from cold storage."""

    title = "cold storage"
    parameter_name = "cold"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        """The two states that anybody looks for."""
        return CHOICES

    def queryset(self, request: Any, queryset: Any) -> Any:
        """Those of them."""
        if self.value() not in dict(CHOICES):
            return queryset
        return queryset.filter(thaw_asked_at__isnull=False, thawed_at__isnull=self.value() == "under-way")


def thaw_words(copy: Copy) -> str:
    """How the thawing of a copy stands; nothing for one that nobody asked for."""
    if copy.thaw_asked_at is None:
        return showing.NOTHING
    whom = f" for {copy.thaw_for}" if copy.thaw_for else ""
    if copy.thawed_at is None:
        return f"being thawed since {copy.thaw_asked_at:%Y-%m-%d %H:%M} UTC{whom}"
    return f"thawed, seen {copy.thawed_at:%Y-%m-%d %H:%M} UTC{whom}"


def under_way(tenant_id: UUID) -> str:
    """One sentence about all that is being thawed for a tenant; "" when nothing is."""
    with tenant_scope(tenant_id):
        asked = Copy.objects.filter(thaw_asked_at__gt=timezone.now() - LONGEST, thawed_at__isnull=True)
        found = asked.aggregate(packs=Count("pk"), bytes=Sum("bytes"))
    if not found["packs"]:
        return ""
    return f"{packs_words(found['packs'])} ({showing.size(found['bytes'])}) being thawed: restores wait for hours."
