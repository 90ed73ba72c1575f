"""Changing scrub's calendar: platform staff do, and the audit tells."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from backup_platform.audit.services import record as record_audit
from backup_platform.upkeep.models import ScrubSettings

SHOWN = ("every_days", "from_hour", "to_hour", "mib_per_second", "at_once", "paused")


def change_settings(changed: ScrubSettings, *, actor: str) -> ScrubSettings:
    """Keep these settings as the platform's. ValidationError when one is out of its bounds. Audited."""
    changed.pk = 1
    changed.changed_by, changed.changed_at = actor[:200], timezone.now()
    with transaction.atomic():
        changed.clean_fields(exclude=["id"])
        changed.save()
        record_audit("scrub.settings_changed", actor=actor, object="scrub", tenant=None,
                     **{name: getattr(changed, name) for name in SHOWN})  # fmt: skip
    return changed


__all__ = ["ValidationError", "change_settings"]
