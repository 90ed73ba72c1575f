"""Ready-made settings to start a policy from. They are copied into it; later changes here change no policy."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

CACHES = [
    "**/.cache/",
    "**/.local/share/Trash/",
    "**/Library/Caches/",
    "**/AppData/Local/Temp/",
    ".Trash-*/",
    "*.part",
]
TEMPORARY = ["/tmp/", "/var/tmp/", "/var/cache/"]  # noqa: S108 - left out, not used
BUILT = [
    "node_modules/",
    "__pycache__/",
    ".venv/",
    ".tox/",
    "**/target/debug/",
    "**/target/release/",
    ".gradle/",
    "*.pyc",
]
LARGE_MEDIA = ["*.iso", "*.vmdk", "*.vdi", "*.qcow2", "*.vhdx"]
NIGHTLY = {"schedule.kind": "cron", "schedule.cron": "30 1 * * *", "schedule.jitter_minutes": 60}
AT_WORK = {"schedule.kind": "cron", "schedule.cron": "0 9,13,17 * * 1-5", "schedule.jitter_minutes": 20}
GENTLE = {"limits.only_on_ac": True, "limits.not_on_metered": True, "limits.adaptive": True}


@dataclass(frozen=True)
class Template:
    """Settings under a name, and for whom they are meant."""

    key: str
    label: str
    description: str
    values: dict[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        """The settings, as a map of the caller's own."""
        return copy.deepcopy(self.values)


_ALL = (
    Template(
        "documents",
        "Documents",
        "What people write and keep: home directories without caches and disk images, three times a working day.",
        {"selection.sources": ["/home"], "selection.exclude": [*CACHES, *LARGE_MEDIA], **AT_WORK, **GENTLE},
    ),
    Template(
        "developer",
        "Developer",
        "Home directories without what a build makes again, three times a working day.",
        {
            "selection.sources": ["/home"],
            "selection.exclude": [*CACHES, *BUILT, *LARGE_MEDIA],
            **AT_WORK,
            **GENTLE,
        },
    ),
    Template(
        "media",
        "Media",
        "Photos, sound and film: large files that hardly change, once a night, with the line left to others.",
        {
            "selection.sources": ["/home", "/srv"],
            "selection.exclude": [*CACHES, "*.tmp", ".thumbnails/"],
            **NIGHTLY,
            "schedule.deadline_minutes": 2880,
            "limits.adaptive": True,
            "limits.not_on_metered": True,
        },
    ),
    Template(
        "server",
        "Server",
        "Configuration, services' data and accounts of a server, once a night. Databases want a hook that dumps them.",
        {
            "selection.sources": ["/etc", "/home", "/opt", "/root", "/srv", "/usr/local", "/var"],
            "selection.exclude": [*TEMPORARY[1:], "/var/lib/docker/overlay2/", "**/.cache/", "*.tmp"],
            **NIGHTLY,
            "limits.io_class": "idle",
        },
    ),
    Template(
        "everything",
        "Everything",
        "The whole machine but pseudo file systems, temporary files and caches, once a night.",
        {
            "selection.sources": ["/"],
            "selection.exclude": [*TEMPORARY, *CACHES],
            **NIGHTLY,
            "schedule.deadline_minutes": 2880,
            "limits.io_class": "idle",
        },
    ),
)  # fmt: skip
TEMPLATES: dict[str, Template] = {one.key: one for one in _ALL}
