"""One PostgreSQL cluster of our own: made once, started as a child process, reached over one unix socket.

Three roles (docs/decisions/0002): `postgres`, the superuser, used here only; `strongroom_owner`, which owns the
database and migrates it; `strongroom_app`, under which the platform runs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from backup_platform.embedded.durable_files import sync_directory
from backup_platform.embedded.errors import ServerFailed
from backup_platform.embedded.server_account import ServerAccount

SUPERUSER = "postgres"
OWNER = "strongroom_owner"
APPLICATION = "strongroom_app"
DATABASE = "strongroom"
INITDB_SECONDS = 120
PORT = 5432  # names the socket file only: nothing listens on TCP

SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "fsync": "on",  # said here, so that an edited file cannot turn it off
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_connections": "",
    "log_checkpoints": "off",
}


@dataclass(frozen=True)
class Passwords:
    """One password a role; never shown in a repr."""

    superuser: str = field(repr=False)
    owner: str = field(repr=False)
    application: str = field(repr=False)


@dataclass(frozen=True)
class Postgres:
    """A cluster in DATA, owned by ACCOUNT, with its socket in SOCKETS. SETTINGS extend the server's configuration."""

    data: Path
    sockets: Path
    bin: Path
    account: ServerAccount
    passwords: Passwords
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def exists(self) -> bool:
        """Whether a finished cluster stands in the data directory."""
        return (self.data / "PG_VERSION").is_file()

    def initialise(self) -> None:
        """Make the cluster, data checksums on and scram for everyone. It has its name only when it is whole."""
        unfinished = self.data.with_name(f"{self.data.name}.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        self.account.own(unfinished)
        password_file = self.data.with_name(f"{self.data.name}.password")
        try:
            password_file.touch(mode=0o600)
            password_file.write_text(self.passwords.superuser, encoding="ascii")
            self.account.own(password_file)
            self._run_initdb(unfinished, password_file)
        finally:
            password_file.unlink(missing_ok=True)
        unfinished.rename(self.data)
        sync_directory(self.data.parent)

    def _run_initdb(self, directory: Path, password_file: Path) -> None:
        command = [str(self.bin / "initdb"), "-D", str(directory), "-U", SUPERUSER, f"--pwfile={password_file}"]
        command += ["--auth=scram-sha-256", "--encoding=UTF8", "--data-checksums"]
        # The collation of the build itself: an operating system's may change under the indexes.
        command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        finished: subprocess.CompletedProcess[str] = subprocess.run(
            command,
            **self.account.spawn_options,
            env=self.environment(),
            cwd="/",
            capture_output=True,
            text=True,
            timeout=INITDB_SECONDS,
            check=False,
        )
        if finished.returncode:
            reason = (finished.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise ServerFailed(
                f"PostgreSQL could not make its data directory {directory}: {reason}",
                "Give this user a name (a line in /etc/passwd), or run as one that has one."
                if "user does not exist" in reason
                else "Check free space and permissions there.",
            )

    def environment(self) -> dict[str, str]:
        """A small, neutral environment: nothing of the caller's PG* variables or secrets."""
        return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", "HOME": "/"}

    def command(self) -> list[str]:
        """The server's command line; it runs in the foreground and logs to standard error."""
        command = [str(self.bin / "postgres"), "-D", str(self.data), "-k", str(self.sockets), "-p", str(PORT)]
        for name, value in {**SETTINGS, **self.settings}.items():
            command += ["-c", f"{name}={value}"]
        return command

    def url(self, role: str, password: str, database: str = DATABASE) -> str:
        """The address for ROLE, as DATABASE_URL spells it."""
        return f"postgresql://{role}:{quote(password)}@/{database}?host={quote(str(self.sockets), safe='')}&port={PORT}"

    def owner_url(self, database: str = DATABASE) -> str:
        """The address of the role that may change the schema."""
        return self.url(OWNER, self.passwords.owner, database)

    def application_url(self, database: str = DATABASE) -> str:
        """The address of the role that the platform runs under."""
        return self.url(APPLICATION, self.passwords.application, database)

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """A superuser's connection, for preparing the cluster only."""
        return psycopg.connect(
            host=str(self.sockets),
            port=PORT,
            user=SUPERUSER,
            password=self.passwords.superuser,
            dbname=database,
            connect_timeout=5,
            autocommit=True,
        )

    def prepare_roles(self, *, owner_may_create_databases: bool = False) -> None:
        """Make (or bring up to date) the two roles and the database. Safe to repeat on every start."""
        with self.connect() as connection:
            _set_role(connection, OWNER, self.passwords.owner, create_databases=owner_may_create_databases)
            _set_role(connection, APPLICATION, self.passwords.application, create_databases=False)
            connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(APPLICATION), sql.Identifier(OWNER)))
            _make_database(connection)


def _set_role(connection: psycopg.Connection, role: str, password: str, *, create_databases: bool) -> None:
    known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone()
    statement = "ALTER ROLE {} LOGIN {} PASSWORD {}" if known else "CREATE ROLE {} LOGIN {} PASSWORD {}"
    rights = sql.SQL("CREATEDB" if create_databases else "NOCREATEDB")
    connection.execute(sql.SQL(statement).format(sql.Identifier(role), rights, sql.Literal(password)))


def _make_database(connection: psycopg.Connection) -> None:
    database, owner = sql.Identifier(DATABASE), sql.Identifier(OWNER)
    if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, owner))
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
    connection.execute(
        sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {} TO {}").format(database, sql.Identifier(APPLICATION))
    )
