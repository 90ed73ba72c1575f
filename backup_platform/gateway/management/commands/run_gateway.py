"""`manage.py run_gateway`: the server end of the socket protocol, in the foreground."""

from __future__ import annotations

import asyncio
import hashlib
import os
import resource
import signal
import socket
from pathlib import Path
from typing import Any

import uvloop
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseError

from backup_platform.fleet.errors import AuthorityFault
from backup_platform.gateway import announcing
from backup_platform.gateway.announcing import Announcer
from backup_platform.gateway.server import Gateway

LOAD_SECONDS = 60.0


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
        if settings.STRONGROOM_ANNOUNCE not in announcing.WISHES:
            raise CommandError(
                f"STRONGROOM_ANNOUNCE is {settings.STRONGROOM_ANNOUNCE[:40]!r}; set it to auto, on or off."
            )
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
    announcer = await _announce(gateway)
    while not ended.is_set():
        try:
            async with asyncio.timeout(LOAD_SECONDS):
                await ended.wait()
        except TimeoutError:
            await announcer.say_load(gateway.load)
    await announcer.stop()
    await gateway.stop()


async def _announce(gateway: Gateway) -> Announcer:
    """Tell the local network, if that is wanted."""
    addresses = announcing.addresses_to_announce(gateway.host, settings.STRONGROOM_ANNOUNCE)
    fingerprint = hashlib.sha256(gateway.tls.ca).hexdigest()
    announcer = Announcer(
        socket.gethostname(), gateway.port, announcing.platform_version(), fingerprint, addresses, gateway.load
    )
    if addresses:
        await announcer.start()
    return announcer


def _write_port(path: Path, port: int) -> None:
    """As a whole: whoever waits for the file must not read half a number."""
    draft = path.with_name(path.name + ".new")
    draft.write_text(f"{port}\n")
    draft.replace(path)
