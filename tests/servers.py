"""The PostgreSQL and Valkey of a test run: real servers from the wheels, in a temporary directory, started once.

PostgreSQL runs with fsync off: these tests ask what the code does, not whether the disk keeps it (tests/faults do that
with servers of their own). Under xdist each process has its own.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import redis

from backup_platform.embedded.child import ends_with_parent
from backup_platform.embedded.postgres import APPLICATION, OWNER, PORT, Passwords, Postgres
from backup_platform.embedded.server_account import find_account, reachable_binaries
from backup_platform.embedded.socket_directory import make_socket_directory, remove_socket_directory
from backup_platform.embedded.valkey import Valkey

START_SECONDS = 60
STOP_SECONDS = 30
PASSWORDS = Passwords(superuser="tests-superuser", owner="tests-owner", application="tests-application")
QUICK_SETTINGS = {"fsync": "off", "full_page_writes": "off", "autovacuum_naptime": "5min", "max_connections": "200"}


@dataclass(frozen=True)
class Servers:
    """Where the servers are: the socket directory that both share, and Valkey's URL."""

    sockets: str
    valkey_url: str

    def database_url(self, database: str, *, role: str = APPLICATION) -> str:
        """The address of DATABASE for one of the two roles."""
        password = {OWNER: PASSWORDS.owner, APPLICATION: PASSWORDS.application}[role]
        return f"postgresql://{role}:{password}@/{database}?host={self.sockets}&port={PORT}"

    def django_settings(self) -> dict[str, str]:
        """What DATABASES needs to reach PostgreSQL as the role that owns (and may create) databases."""
        return {"HOST": self.sockets, "PORT": str(PORT), "USER": OWNER, "PASSWORD": PASSWORDS.owner}


@dataclass
class ServerRun:
    """Starts both servers on `start`, stops them and removes every trace on `stop`."""

    root: Path | None = None
    sockets: Path | None = None
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> Servers:
        """Both servers, answering."""
        account = find_account()
        self.root = Path(tempfile.mkdtemp(prefix="strongroom-tests-"))
        self.root.chmod(0o711)  # the account that runs the servers passes through, and lists nothing
        self.sockets = make_socket_directory(account)
        programs = reachable_binaries(account, self.root)
        postgres = Postgres(
            self.root / "postgres", self.sockets, programs.postgres_bin, account, PASSWORDS, QUICK_SETTINGS
        )
        valkey = Valkey(self.root / "valkey", self.sockets, programs.valkey_server, account, "tests-valkey")
        postgres.initialise()
        valkey.prepare()
        self._spawn(postgres.command(), postgres.environment(), account.spawn_options, "postgres.log")
        self._spawn(valkey.command(), valkey.environment(), account.spawn_options, "valkey.log", valkey.configuration())
        self._wait(lambda: postgres.connect().close(), "PostgreSQL")
        self._wait(lambda: valkey.connect().ping(), "Valkey")
        postgres.prepare_roles(owner_may_create_databases=True)
        return Servers(str(self.sockets), valkey.url)

    def _spawn(
        self, command: list[str], environment: dict[str, str], options: dict, log: str, text: bytes = b""
    ) -> None:
        with (self.root / log).open("wb") as output:
            process = subprocess.Popen(
                command,
                env=environment,
                cwd="/",
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                preexec_fn=ends_with_parent(signal.SIGINT),  # a run that is killed leaves no server behind
                **options,
            )
        process.stdin.write(text)
        process.stdin.close()
        self.processes.append(process)

    def _wait(self, attempt: Callable[[], object], name: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                attempt()
                return
            except (psycopg.OperationalError, redis.ConnectionError, redis.BusyLoadingError) as fault:
                if time.monotonic() > deadline or any(process.poll() is not None for process in self.processes):
                    logs = "\n".join(path.read_text()[-2000:] for path in self.root.glob("*.log"))
                    raise RuntimeError(f"{name} of the test run did not start: {fault}\n{logs}") from None
                time.sleep(0.02)

    def stop(self) -> None:
        """Both servers gone, waited for, and their directories removed."""
        for process in self.processes:
            process.send_signal(signal.SIGINT)  # PostgreSQL: fast shutdown; Valkey: save and exit
        for process in self.processes:
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()
        if self.sockets:
            remove_socket_directory(self.sockets)
        if self.root:
            shutil.rmtree(self.root, ignore_errors=True)
