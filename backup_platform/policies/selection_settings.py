"""The settings that say what is saved."""

from __future__ import annotations

from . import checks
from .setting import Kind, Setting

CHUNKERS = (("default", "Normal (chunks of 1 MiB)"), ("fine", "Fine (64 KiB): disk images and databases"))

SELECTION = (
    Setting(
        "selection.sources", "selection", Kind.LINES, [], "Sources",
        "Absolute paths on the machine, one a line, such as /home.",
        checks.lines(checks.source),
    ),
    Setting(
        "selection.exclude", "selection", Kind.LINES, [], "Leave out",
        "Lines as in a .gitignore file, read from the top of the file system: *.tmp and cache/ match at any depth, "
        "/home/*/.cache only there.",
        checks.lines(checks.text),
    ),
    Setting(
        "selection.include", "selection", Kind.LINES, [], "Take back in",
        "Lines as above: what matches is saved although a line above leaves it out.",
        checks.lines(checks.text),
    ),
    Setting(
        "selection.default_exclusions", "selection", Kind.YES_NO, True, "Sensible default exclusions",
        "Leaves out pseudo file systems such as /proc, and swap files.",
        checks.yes_or_no,
    ),
    Setting(
        "selection.cache_dir_tags", "selection", Kind.YES_NO, True, "Leave out tagged caches",
        "Leaves out directories that programs marked as caches with a CACHEDIR.TAG file.",
        checks.yes_or_no,
    ),
    Setting(
        "selection.max_file_size", "selection", Kind.SIZE, None, "Largest file",
        "Larger files are left out, and counted. Empty: files of any size.",
        checks.optional(checks.integer(1, 2**60, "bytes")), unit="bytes", may_be_empty=True,
    ),
    Setting(
        "selection.max_file_age_days", "selection", Kind.NUMBER, None, "Oldest file",
        "Files that were not changed for longer are left out, and counted. Empty: files of any age.",
        checks.optional(checks.integer(1, 36500, "days")), unit="days", may_be_empty=True,
    ),
    Setting(
        "selection.one_file_system", "selection", Kind.YES_NO, False, "Stay on one file system",
        "Does not enter other file systems that are mounted below a source.",
        checks.yes_or_no,
    ),
    Setting(
        "selection.chunker", "selection", Kind.CHOICE, "default", "Chunk size",
        "Fine chunks find smaller changes inside large files, and cost more memory and time.",
        checks.one_of(CHUNKERS), choices=CHUNKERS,
    ),
)  # fmt: skip
