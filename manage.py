#!/usr/bin/env python
"""Django's door. Finds the running instance by STRONGROOM_HOME, so that every command works on what `up` started."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent
SETTINGS = "DJANGO_SETTINGS_MODULE"
EMBEDDED = "backup_platform.settings.embedded"
# These start, or do without, an instance.
NEED_NO_INSTANCE = {"up", "demo", "help", "version", "check", "makemigrations", "collectstatic", "compilemessages"}
# These change the schema, which only the owner of the database may (docs/decisions/0002).
NEED_OWNER_ROLE = {"migrate", "sqlmigrate", "dbshell", "createcachetable", "restore_platform"}


def main(arguments: list[str]) -> None:
    """Run one management command; a fault that we know ends with one sentence instead of a traceback."""
    if find_spec("django") is None:
        sys.exit(
            f"error: {sys.executable} has no Django: the platform's packages are not installed in this Python.\n"
            "try: `make setup`, and then .venv/bin/python manage.py …"
        )
    command = arguments[1] if len(arguments) > 1 else "help"
    if command in NEED_OWNER_ROLE:
        os.environ["STRONGROOM_DATABASE_ROLE"] = "owner"
    embedded = os.environ.setdefault(SETTINGS, EMBEDDED) == EMBEDDED
    alone = command in NEED_NO_INSTANCE or "--help" in arguments or "-h" in arguments
    if embedded and not alone and "DATABASE_URL" not in os.environ and "DATABASE_URL_FILE" not in os.environ:
        join_running_instance()
    from django.core.management import execute_from_command_line

    execute_from_command_line(arguments)


def join_running_instance() -> None:
    """Take the addresses and secrets of the instance that runs in STRONGROOM_HOME, or say that none runs."""
    from backup_platform.embedded.errors import EmbeddedError
    from backup_platform.embedded.run_record import running_environment

    home = Path(os.environ.get("STRONGROOM_HOME") or CHECKOUT / "var").absolute()
    try:
        os.environ.update(running_environment(home))
    except EmbeddedError as fault:
        sys.exit(f"error: {fault.what}\ntry: {fault.remedy}")


if __name__ == "__main__":
    main(sys.argv)
