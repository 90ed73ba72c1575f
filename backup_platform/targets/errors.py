"""What can be wrong with a target, in sentences for people."""

from __future__ import annotations


class TargetRefused(ValueError):
    """A target cannot be like this; the text says why and what to change, and holds no secret.

    `field` is the field of the row that it is about, where it is about one.
    """

    def __init__(self, text: str, field: str = "") -> None:
        super().__init__(text)
        self.field = field


class TargetChanged(TargetRefused):
    """A target was changed while something was found out about it: what was found holds for it no more."""
