"""`manage.py run_gateway`: the server end of the socket protocol, in the foreground."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from pathlib import Path
from typing import Any

import uvloop
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseError

from backup_platform.fleet.errors import AuthorityFault
from backup_platform.gateway.server import Gateway


class Command(BaseCommand):
    """Serve agents until SIGTERM or SIGINT, then seal what is open and end within ten seconds."""

    help = "Run a gateway: agents connect to it. SIGTERM ends it cleanly."

    def add_arguments(self, parser: CommandParser) -> None:
        """Address from the options, else from the environment; port 0 takes a free one."""
        parser.add_argument("--host", default=os.environ.get("STRONGROOM_GATEWAY_HOST", "127.0.0.1"))
        parser.add_argument("--port", type=int, default=settings.STRONGROOM_GATEWAY_PORT)
        parser.add_argument("--port-file", type=Path, help="Write the port to this file once the gateway is serving.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run; what prevents a start is one sentence and exit code 1."""
        _allow_open_files()
        gateway = Gateway(Path(settings.STRONGROOM_HOME), options["host"], options["port"])
        try:
            uvloop.run(_serve(gateway, options["port_file"]))
        except (AuthorityFault, DatabaseError, OSError) as fault:
            raise CommandError(f"The gateway cannot start: {fault}") from fault


def _allow_open_files() -> None:
    """Every connection and every open pack is a file; the usual 1,024 are fewer than the connections we admit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _serve(gateway: Gateway, port_file: Path | None) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    port = await gateway.start()
    if port_file is not None:
        _write_port(port_file, port)
    await ended.wait()
    await gateway.stop()


def _write_port(path: Path, port: int) -> None:
    """As a whole: whoever waits for the file must not read half a number."""
    draft = path.with_name(path.name + ".new")
    draft.write_text(f"{port}\n")
    draft.replace(path)
