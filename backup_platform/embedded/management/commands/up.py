"""`manage.py up`: the whole platform on this host, in the foreground."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from backup_platform.embedded.errors import EmbeddedError
from backup_platform.embedded.startup import Running, Wishes, running_platform

DEFAULT_WEB_PORT = 8470
DEFAULT_GATEWAY_PORT = 8471
INTERRUPTED = 130


class Command(BaseCommand):
    """Starts PostgreSQL, Valkey, web, gateway, worker and beat; ends them all on SIGTERM or Ctrl-C."""

    help = "Run the whole platform on this host until Ctrl-C. Data: STRONGROOM_HOME (default ./var)."
    requires_system_checks: list[str] = []  # the database that they would look at is not there yet

    def add_arguments(self, parser: CommandParser) -> None:
        """--ready-file."""
        parser.add_argument("--ready-file", type=Path, help="write this JSON file when all is serving")

    def handle(self, *_: Any, **options: Any) -> None:
        """Run until a signal; a fault that we know ends with one sentence."""
        try:
            asyncio.run(self._run(read_wishes(options["ready_file"])))
        except* EmbeddedError as faults:
            fault = first_of(faults)
            raise CommandError(f"{fault.what}\ntry: {fault.remedy}") from None
        except* OSError as faults:
            raise CommandError(sentence_of(first_of(faults))) from None

    async def _run(self, wishes: Wishes) -> None:
        serving, stopping = asyncio.Event(), asyncio.Event()
        main = asyncio.current_task()
        loop = asyncio.get_running_loop()

        def stop() -> None:
            # A signal that comes while still starting interrupts; the clean-up runs all the same. More signals change
            # nothing: every step of stopping has an end of its own.
            if main and not serving.is_set() and not stopping.is_set():
                main.cancel()
            stopping.set()

        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, stop)
        try:
            async with running_platform(wishes, self.say) as running:
                serving.set()
                self._welcome(running)
                await stopping.wait()
                self.say("stopping")
        except asyncio.CancelledError:
            if not stopping.is_set():
                raise
        self.say("stopped")

    def say(self, line: str) -> None:
        """One line for the person at the terminal, at once."""
        self.stdout.write(f"strongroom: {line}")
        self.stdout.flush()

    def _welcome(self, running: Running) -> None:
        self.say(f"serving. Web {running.addresses.web}  gateway {running.addresses.gateway}")
        if running.admin_password_file.exists():
            self.say(f"first sign-in: user admin, one-time password in {running.admin_password_file}")
        self.say(f"data in {running.home.path}, logs in {running.home.logs}; Ctrl-C stops everything")


def first_of(faults: BaseExceptionGroup[Any]) -> Any:
    """The first real fault in a group (a group may hold groups)."""
    fault: Any = faults
    while isinstance(fault, BaseExceptionGroup):
        fault = fault.exceptions[0]
    return fault


def sentence_of(fault: OSError) -> str:
    """What the operating system refused, where, and what to do about it."""
    where = f" at {fault.filename}" if fault.filename else ""
    if fault.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"There is no space left{where}.\ntry: Free some space, then start again."
    why = (fault.strerror or str(fault) or type(fault).__name__).lower()
    return f"The operating system refused{where}: {why}.\ntry: Mend that, then start again; the logs may say more."


def read_wishes(ready_file: Path | None) -> Wishes:
    """What the environment asks for."""
    environment = os.environ
    return Wishes(
        home=Path(settings.STRONGROOM_HOME).absolute(),
        web_host=environment.get("STRONGROOM_WEB_HOST", "127.0.0.1"),
        web_port=read_port("STRONGROOM_WEB_PORT", DEFAULT_WEB_PORT),
        gateway_host=environment.get("STRONGROOM_GATEWAY_HOST", "127.0.0.1"),
        gateway_port=read_port("STRONGROOM_GATEWAY_PORT", DEFAULT_GATEWAY_PORT),
        gateway_address=environment.get("STRONGROOM_GATEWAY_ADDRESS", ""),
        ready_file=ready_file.absolute() if ready_file else None,
    )


def read_port(variable: str, default: int) -> int:
    """The port that VARIABLE names. Raises CommandError if it is none."""
    text = os.environ.get(variable, str(default))
    if not text.isdecimal() or int(text) > 65535:
        raise CommandError(
            f"{variable} is '{text}', which is not a port.\ntry: a number from 0 (any free one) to 65535"
        )
    return int(text)
