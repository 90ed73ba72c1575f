"""What can be wrong with a target, in sentences for people."""

from __future__ import annotations


class TargetRefused(ValueError):
    """A target cannot be like this; the text says why and what to change, and holds no secret."""
