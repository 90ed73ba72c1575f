"""`manage.py create_first_admin`: the account with which a new platform is opened."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from backup_platform.embedded.durable_files import write_private


class Command(BaseCommand):
    """Makes one superuser with a one-time password, if the platform has no superuser yet."""

    help = (
        "Make the first admin, with a password that must be changed at the first sign-in. Does nothing if there is one."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """NAME and --password-file."""
        parser.add_argument("name")
        parser.add_argument("--password-file", type=Path, required=True, help="where the password is written (0600)")

    def handle(self, *_: Any, **options: Any) -> None:
        """The file comes first and the account second: an account whose password nobody knows helps nobody."""
        users = get_user_model()
        with transaction.atomic():
            if users.objects.filter(is_superuser=True).exists():
                return
            password = secrets.token_urlsafe(18)
            try:
                write_private(options["password_file"], password + os.linesep)
            except OSError as fault:
                raise CommandError(f"The password file cannot be written: {fault.strerror}") from None
            users.objects.create_superuser(options["name"], password=password, must_change_password=True)
        self.stdout.write(f"made the first admin '{options['name']}'")
