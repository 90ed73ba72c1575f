"""Why a rebuild does not begin, or does not go on."""

from __future__ import annotations


class RebuildRefused(Exception):
    """Nothing was changed, or nothing more: the sentence says why and what to do."""
