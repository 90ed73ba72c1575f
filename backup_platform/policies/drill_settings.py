"""The settings that say how often a machine proves that its snapshots can be restored."""

from __future__ import annotations

from . import checks
from .setting import Kind, Setting

DRILL = (
    Setting(
        "drill.every_days", "drill", Kind.NUMBER, 30, "Drill every",
        "How often the machine restores a sample of the newest snapshot for trial. 0: never by itself. A write-only "
        "machine cannot: its snapshots are tried with the kit, by hand.",
        checks.integer(0, 365, "days"), unit="days",
    ),
    Setting(
        "drill.sample_files", "drill", Kind.NUMBER, 50, "Files to try",
        "At most so many files, drawn at random anew each time.",
        checks.integer(1, 1_000, "files"), unit="files",
    ),
    Setting(
        "drill.sample_mib", "drill", Kind.NUMBER, 256, "Content to try",
        "At most so much. A file that is larger than a quarter of it is tried in part.",
        checks.integer(1, 10_240, "MiB"), unit="MiB",
    ),
)  # fmt: skip
