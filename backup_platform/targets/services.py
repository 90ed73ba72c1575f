"""What changes targets. Doors call these; each one checks, writes and leaves a line in the audit."""

from __future__ import annotations

from backup_platform.targets.availability import note_away, note_back
from backup_platform.targets.home import home_target

__all__ = ["home_target", "note_away", "note_back"]
