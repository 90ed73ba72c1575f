"""What tiering refuses, in sentences for people."""

from __future__ import annotations

from backup_platform.catalog.errors import RecordUnavailable


class TieringRefused(ValueError):
    """Something cannot be done like this; the text says why and what to do."""


class TargetTrouble(Exception):
    """A target could not be asked or could not do it just now; nothing is concluded from that but that it is so."""


class TargetSlow(TargetTrouble):
    """A target gave or took so little for so long that it was cut off. `held` are the seconds that it had."""

    def __init__(self, said: str, held: float) -> None:
        super().__init__(said)
        self.held = held


class GoOnLater(RecordUnavailable):
    """So far all is well, and the rest wants another turn: others wait for this one's."""


class SourceDamaged(Exception):
    """What should be copied does not match its digest; nothing was copied."""
