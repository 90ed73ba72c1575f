"""Who may use the API at all: whoever is signed in, and belongs to the platform or to a tenant."""

from __future__ import annotations

from typing import Any

from rest_framework.permissions import IsAuthenticated

from backup_platform.console.site import actor_of


class BelongsSomewhere(IsAuthenticated):
    """For views that ask about rights themselves: without an actor there is no scope, and no row can be asked for."""

    def has_permission(self, request: Any, view: Any) -> bool:
        """Whether there is an actor."""
        return bool(super().has_permission(request, view)) and actor_of(request) is not None
