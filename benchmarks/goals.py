"""What is aimed at. A goal is a ratio to restic (0.14, over TLS, in the same run), or a bound in the figure's own unit.

Units: wall and cpu in seconds, rss and size in MiB.
"""

from __future__ import annotations

from dataclasses import dataclass

REFERENCE = "restic"
CORPORA = ("media", "code", "tiny", "image")


@dataclass(frozen=True)
class Goal:
    """At most `most`: as a ratio to the reference, or (`is_ratio` false) in the figure's unit."""

    most: float
    is_ratio: bool = True


def _row(step: str, figure: str, *most: float) -> dict[tuple[str, str, str], Goal]:
    return {(corpus, step, figure): Goal(value) for corpus, value in zip(CORPORA, most, strict=True)}


GOALS: dict[tuple[str, str, str], Goal] = {
    **_row("full", "wall", 0.40, 0.40, 0.30, 0.40),
    **_row("unchanged", "wall", 1.0, 0.35, 0.35, 1.0),
    **_row("delta", "wall", 1.0, 0.45, 0.45, 0.50),
    **_row("restore", "wall", 0.5, 0.5, 0.5, 0.6),
    **_row("check", "wall", 0.2, 0.2, 0.2, 0.2),
    **_row("full", "cpu", 0.5, 0.5, 0.5, 0.5),
    **_row("full", "size", 1.02, 0.96, 0.75, 1.02),
    **{
        (corpus, step, "rss"): Goal(300, is_ratio=False)
        for corpus in CORPORA
        for step in ("full", "unchanged", "delta", "restore")
    },
    ("start", "unchanged", "wall"): Goal(0.35, is_ratio=False),
    ("agents", "gateway", "rss"): Goal(300, is_ratio=False),
}
