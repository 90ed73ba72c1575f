"""What retention refuses, as sentences for the person who asked."""

from __future__ import annotations


class RetentionRefused(ValueError):
    """It cannot be done so; the text says what, why, and what to do."""
