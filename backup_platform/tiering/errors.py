"""What tiering refuses, in sentences for people."""

from __future__ import annotations


class TieringRefused(ValueError):
    """Something cannot be done like this; the text says why and what to do."""


class TargetTrouble(Exception):
    """A target could not be asked or could not do it just now; nothing is concluded from that but that it is so."""


class SourceDamaged(Exception):
    """What should be copied does not match its digest; nothing was copied."""
