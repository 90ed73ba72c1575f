"""The settings that say how hard a backup pushes, which hooks it calls, and what the server may see."""

from __future__ import annotations

from . import calendar_checks as calendars
from . import checks
from .setting import Kind, Setting

IO_CLASSES = (("normal", "Normal"), ("idle", "Only when nobody else uses the disk"))

LIMITS = (
    Setting(
        "limits.bandwidth_default", "limits", Kind.NUMBER, None, "Bandwidth",
        "At most so much is sent at any time without an entry below. Empty: no bound.",
        checks.optional(calendars.kbit_per_second), unit="kbit/s", may_be_empty=True,
    ),
    Setting(
        "limits.bandwidth", "limits", Kind.BANDWIDTH, [], "Bandwidth by calendar",
        "In the machine's time zone, the first line that fits counts. One a line: Mon-Fri 08:00-18:00 2000 (kbit/s), "
        "or Sat,Sun 00:00-24:00 unlimited.",
        calendars.bandwidth,
    ),
    Setting(
        "limits.adaptive", "limits", Kind.YES_NO, False, "Give way on a busy line",
        "Slows down when the measured throughput says that others want the line.",
        checks.yes_or_no,
    ),
    Setting(
        "limits.niceness", "limits", Kind.NUMBER, 10, "Processor niceness",
        "From 0 (as any program) to 19 (only when nobody else wants the processor).",
        checks.integer(0, 19),
    ),
    Setting(
        "limits.io_class", "limits", Kind.CHOICE, "normal", "Disk",
        "How it takes its turn at the disk, where the system knows the difference.",
        checks.one_of(IO_CLASSES), choices=IO_CLASSES,
    ),
    Setting(
        "limits.only_on_ac", "limits", Kind.YES_NO, False, "Only on mains power",
        "Waits while the machine runs on its battery, where that is known.",
        checks.yes_or_no,
    ),
    Setting(
        "limits.not_on_metered", "limits", Kind.YES_NO, False, "Not on metered networks",
        "Waits while the network is paid by volume, where that is known.",
        checks.yes_or_no,
    ),
)  # fmt: skip

HOOKS = (
    Setting(
        "hooks.before", "hooks", Kind.TEXT, None, "Before the backup",
        "Name of a hook, such as dump-database. If it fails, the backup does not begin.",
        checks.optional(checks.hook_name), may_be_empty=True,
    ),
    Setting(
        "hooks.after", "hooks", Kind.TEXT, None, "After the backup",
        "Name of a hook that runs when the backup has ended, well or not.",
        checks.optional(checks.hook_name), may_be_empty=True,
    ),
    Setting(
        "stdin.hook", "hooks", Kind.TEXT, None, "Save the output of",
        "Name of a hook whose output is saved as one file, without touching the disk. Sources are not read then.",
        checks.optional(checks.hook_name), may_be_empty=True,
    ),
    Setting(
        "stdin.name", "hooks", Kind.TEXT, None, "As the file",
        "How that file is called in the snapshot, such as customers.sql.",
        checks.optional(checks.file_name), may_be_empty=True,
    ),
)  # fmt: skip

PRIVACY = (
    Setting(
        "privacy.file_names_in_progress", "privacy", Kind.YES_NO, False, "Show names of files in progress",
        "Lets the machine tell the server which file it is at. Names are then in the server's memory and database.",
        checks.yes_or_no,
    ),
)  # fmt: skip
