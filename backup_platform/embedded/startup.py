"""The whole life of `up`: from an empty directory to a serving platform, and back to nothing running."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from backup_platform.embedded.child import Recipe
from backup_platform.embedded.durable_files import write_private
from backup_platform.embedded.errors import ServerFailed
from backup_platform.embedded.home import Home, open_home
from backup_platform.embedded.locks import lock_home, wait_for_predecessors
from backup_platform.embedded.platform_processes import (
    ANY_ADDRESS,
    MANAGE,
    Addresses,
    InstanceEnvironment,
    check_settings,
    platform_recipes,
)
from backup_platform.embedded.ports import Reservation, reserve_port
from backup_platform.embedded.run_record import remove_run_record, write_run_record
from backup_platform.embedded.server_account import find_account
from backup_platform.embedded.servers import Servers, describe_servers, prepare_servers
from backup_platform.embedded.socket_directory import (
    make_socket_directory,
    remember_socket_directory,
    remove_socket_directory,
)
from backup_platform.embedded.supervisor import Supervisor

COMMAND_SECONDS = 300
FIRST_ADMIN = "admin"


@dataclass(frozen=True)
class Wishes:
    """What the person who starts the platform asked for. Port 0: any free one."""

    home: Path
    web_host: str
    web_port: int
    gateway_host: str
    gateway_port: int
    gateway_address: str
    ready_file: Path | None


@dataclass(frozen=True)
class Running:
    """A serving platform."""

    home: Home
    addresses: Addresses
    supervisor: Supervisor
    ready_file: Path | None

    @property
    def admin_password_file(self) -> Path:
        """Where the first admin's one-time password was written."""
        return self.home.path / "secrets" / "admin-password"

    def description(self) -> dict[str, object]:
        """What the ready file says."""
        return {
            "web": self.addresses.web,
            "gateway": self.addresses.gateway,
            "pids": self.supervisor.pids,
            "admin": {"username": FIRST_ADMIN, "password_file": str(self.admin_password_file)},
        }

    def write_ready_file(self) -> None:
        """Replace the ready file, atomically."""
        if self.ready_file:
            write_private(self.ready_file, json.dumps(self.description(), indent=1) + "\n")


@contextlib.asynccontextmanager
async def running_platform(wishes: Wishes, say: Callable[[str], None]) -> AsyncIterator[Running]:
    """The platform, serving for as long as the context lasts. Raises EmbeddedError if it cannot be."""
    check_settings()
    account = find_account()
    home = open_home(wishes.home, account)
    with (
        contextlib.closing(lock_home(home.path)),
        contextlib.closing(await wait_for_predecessors(home.path)) as children_lock,
        _ports(wishes) as (web, gateway),
        _socket_directory(make_socket_directory(account)) as sockets,
    ):
        remember_socket_directory(home.path / "sockets", sockets)
        servers = describe_servers(home, sockets, account)
        home = await asyncio.to_thread(prepare_servers, home, servers)
        addresses = _addresses(wishes, web, gateway)
        supervisor = Supervisor(say, children_lock.fileno())
        try:
            instance = await _start_everything(home, servers, addresses, supervisor, say)
            running = Running(home, addresses, supervisor, wishes.ready_file)
            write_run_record(home.path, instance.for_commands())
            running.write_ready_file()
            supervisor.keep(running.write_ready_file)
            yield running
        finally:
            remove_run_record(home.path)
            if wishes.ready_file:
                wishes.ready_file.unlink(missing_ok=True)
            await asyncio.shield(supervisor.stop())


@contextlib.contextmanager
def _ports(wishes: Wishes) -> Iterator[tuple[Reservation, Reservation]]:
    with contextlib.ExitStack() as stack:
        web = reserve_port(wishes.web_host, wishes.web_port, variable="STRONGROOM_WEB_PORT")
        stack.callback(web.close)
        gateway = reserve_port(wishes.gateway_host, wishes.gateway_port, variable="STRONGROOM_GATEWAY_PORT")
        stack.callback(gateway.close)
        yield web, gateway


@contextlib.contextmanager
def _socket_directory(directory: Path) -> Iterator[Path]:
    try:
        yield directory
    finally:
        remove_socket_directory(directory)


def _addresses(wishes: Wishes, web: Reservation, gateway: Reservation) -> Addresses:
    # Agents on other machines cannot dial "any address": they are told this host's name.
    host = socket.getfqdn() if wishes.gateway_host in ANY_ADDRESS else wishes.gateway_host
    told = wishes.gateway_address or f"{host}:{gateway.port}"
    return Addresses(wishes.web_host, web.port, wishes.gateway_host, gateway.port, told)


async def _start_everything(
    home: Home, servers: Servers, addresses: Addresses, supervisor: Supervisor, say: Callable[[str], None]
) -> InstanceEnvironment:
    for recipe in servers.recipes(home.logs):
        say(f"{recipe.name} serves ({await supervisor.start(recipe):.1f} s)")
    await asyncio.to_thread(servers.postgres.prepare_roles)
    instance = InstanceEnvironment(
        home=home.path,
        addresses=addresses,
        secret_key=home.secret("django-key"),
        application_url=servers.postgres.application_url(),
        owner_url=servers.postgres.owner_url(),
        redis_url=servers.valkey.url,
    )
    started = time.monotonic()
    await _run_command(
        "migrate", ["migrate", "--noinput", "-v", "0"], home, instance, DATABASE_OWNER_URL=instance.owner_url
    )
    say(f"the database is up to date ({time.monotonic() - started:.1f} s)")
    password_file = str(home.path / "secrets" / "admin-password")
    await _run_command(
        "first admin", ["create_first_admin", FIRST_ADMIN, "--password-file", password_file], home, instance
    )
    await _start_together(supervisor, platform_recipes(instance, home.logs, servers.postgres), say)
    return instance


async def _start_together(supervisor: Supervisor, recipes: list[Recipe], say: Callable[[str], None]) -> None:
    async def start(recipe: Recipe) -> None:
        say(f"{recipe.name} serves ({await supervisor.start(recipe):.1f} s)")

    async with asyncio.TaskGroup() as group:
        for recipe in recipes:
            group.create_task(start(recipe))


async def _run_command(name: str, arguments: list[str], home: Home, instance: InstanceEnvironment, **more: str) -> None:
    """Run one management command to its end. Raises ServerFailed with what it said last."""
    process = await asyncio.create_subprocess_exec(
        *MANAGE,
        *arguments,
        env=instance.for_child(**more),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(COMMAND_SECONDS):
            output, _ = await process.communicate()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    log = home.logs / "setup.log"
    log.write_bytes(output)
    os.chmod(log, 0o600)
    if process.returncode:
        lines = output.decode("utf-8", "replace").strip().splitlines()
        raise ServerFailed(f"The step '{name}' failed: {lines[-1] if lines else 'it said nothing'}", f"See {log}.")
