"""How often the HTTP API may be asked: requests a minute; 0 is no limit (backup_platform/api/rates.py)."""

from __future__ import annotations

from backup_platform.settings.environment import read_number

STRONGROOM_API_RATE = max(0, read_number("STRONGROOM_API_RATE", 600))
STRONGROOM_API_VISITOR_RATE = max(0, read_number("STRONGROOM_API_VISITOR_RATE", 60))
