"""One sentence that says how something stands, what to do about it, and how serious it is. Pages show it first."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Standing:
    """`tone` is good, busy, warning, bad or empty; icon and sentence say the same: colour alone says nothing."""

    tone: str
    icon: str
    sentence: str
    advice: str = ""
    link: str = ""
    """Where the next step is."""
    link_words: str = ""
