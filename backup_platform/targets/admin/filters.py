"""Filters by target, for lists of what lies there. Names are looked up here: a tenant's scope hides shared ones."""

from __future__ import annotations

from uuid import UUID

from django.contrib import admin

from backup_platform.console.site import asking
from backup_platform.targets.queries import all_targets, targets_of

MOST = 200
HERE = "here"


class TargetFilter(admin.SimpleListFilter):
    """Which target."""

    title = "target"
    parameter_name = "target"
    with_home = False
    """Whether rows without a target are about the home directory, and may be asked for."""

    def lookups(self, request, model_admin):
        actor = asking(request)
        found = targets_of(actor.tenant.pk) if actor.tenant else all_targets()
        named = [(str(target.pk), target.name) for target in found if not target.home]
        return [*([(HERE, "This server")] if self.with_home else []), *named[:MOST]]

    def queryset(self, request, queryset):
        wanted = self.value()
        if not wanted:
            return queryset
        if wanted == HERE and self.with_home:
            return queryset.filter(target=None)
        try:
            return queryset.filter(target_id=UUID(wanted))
        except ValueError:
            return queryset.none()


class PlaceFilter(TargetFilter):
    """Which place, this server among them."""

    title = "place"
    with_home = True
