"""Whether the database keeps what it has committed, through a power cut: three settings of PostgreSQL decide.

Acknowledgements rest on commits (law 1). The embedded server says these settings itself; an operator's own may differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core import checks
from django.db import DatabaseError, connections

WORST = {
    "fsync": "After a power cut the catalogue may be damaged beyond use, or lack backups that were acknowledged.",
    "full_page_writes": "After a power cut pages that were being written may be half old and half new.",
    "synchronous_commit": "After a power cut the last backups that were acknowledged may be missing.",
}
"""What `off` means, by setting. Any other value keeps what is committed on this server's disk."""
ADVICE = (
    "Set them to on in postgresql.conf, or as superuser: ALTER SYSTEM SET fsync = on; SELECT pg_reload_conf(); and so "
    "for each. A pooler must pass a session's options on. Only full_page_writes may be off, and only where the file "
    "system itself never tears a page of 8 KiB (ZFS, Btrfs)."
)
SQL = "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)"


def unsafe_settings(connection: Any) -> list[str]:
    """The names of those settings that are off, as a session of ours sees them. Raises DatabaseError."""
    with connection.cursor() as cursor:
        cursor.execute(SQL, [list(WORST)])
        found = dict(cursor.fetchall())
    return [name for name in WORST if found.get(name) == "off"]


def sentence_of(names: Sequence[str]) -> str:
    """What is wrong with these settings, and what may come of it."""
    said = " ".join(WORST[name] for name in names)
    return f"PostgreSQL runs with {', '.join(f'{name} = off' for name in names)}. {said}"


def check_durability(
    app_configs: Any = None, databases: Sequence[str] | None = None, **more: Any
) -> list[checks.CheckMessage]:
    """Django's check, run by `migrate` and by `manage.py check --database default`; a warning, as nothing is lost yet.

    A database that is away is no finding here: whoever needs it says so.
    """
    found: list[checks.CheckMessage] = []
    for alias in databases or ():
        try:
            names = unsafe_settings(connections[alias])
        except DatabaseError:
            continue
        if names:
            found.append(checks.Warning(sentence_of(names), hint=ADVICE, obj=alias, id="strongroom.W001"))
    return found
