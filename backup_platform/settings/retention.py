"""How long expiry takes, unless a tenant says otherwise."""

from __future__ import annotations

from backup_platform.settings.environment import read_number

STRONGROOM_UNDELETE_DAYS = max(1, read_number("STRONGROOM_UNDELETE_DAYS", 14))
STRONGROOM_SHRINK_DAYS = max(1, read_number("STRONGROOM_SHRINK_DAYS", 7))
