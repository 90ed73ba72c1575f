"""The instance's PostgreSQL and Valkey: made at the first start, recognised at every later one."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from backup_platform.embedded import readiness
from backup_platform.embedded.child import Recipe
from backup_platform.embedded.errors import HomeUnusable
from backup_platform.embedded.home import Home
from backup_platform.embedded.postgres import Passwords, Postgres
from backup_platform.embedded.server_account import ServerAccount, reachable_binaries
from backup_platform.embedded.valkey import Valkey

CONTROLDATA_SECONDS = 15


@dataclass(frozen=True)
class Servers:
    """Both servers of one instance, described but not running."""

    postgres: Postgres
    valkey: Valkey

    def recipes(self, logs: Path) -> tuple[Recipe, Recipe]:
        """How to run them: PostgreSQL, then Valkey. SIGINT is PostgreSQL's fast shutdown; SIGTERM waits for clients."""
        account = self.postgres.account
        return (
            Recipe(
                name="postgres",
                command=self.postgres.command(),
                environment=self.postgres.environment(),
                log=logs / "postgres.log",
                ready=readiness.postgres_ready(self.postgres),
                stop_signal=signal.SIGINT,
                stop_seconds=60,
                ready_seconds=300,  # after a crash it replays its log first
                spawn_options={**account.spawn_options, "cwd": "/"},
            ),
            Recipe(
                name="valkey",
                command=self.valkey.command(),
                environment=self.valkey.environment(),
                log=logs / "valkey.log",
                ready=readiness.valkey_ready(self.valkey),
                standard_input=self.valkey.configuration(),
                spawn_options={**account.spawn_options, "cwd": "/"},
            ),
        )


def describe_servers(home: Home, sockets: Path, account: ServerAccount) -> Servers:
    """The servers of HOME, with their sockets in SOCKETS."""
    programs = reachable_binaries(account, home.servers)
    passwords = Passwords(
        superuser=home.secret("database-superuser"),
        owner=home.secret("database-owner"),
        application=home.secret("database-application"),
    )
    postgres = Postgres(home.servers / "postgres", sockets, programs.postgres_bin, account, passwords)
    valkey = Valkey(home.servers / "valkey", sockets, programs.valkey_server, account, home.secret("valkey"))
    return Servers(postgres, valkey)


def prepare_servers(home: Home, servers: Servers) -> Home:
    """Make both data directories if this instance never had them; otherwise check that they are the same ones still."""
    if home.instance.cluster:
        _check_cluster(home, servers.postgres)
    else:
        if not servers.postgres.exists:
            servers.postgres.initialise()
        home = home.with_cluster(read_cluster_identifier(servers.postgres))
    servers.valkey.prepare()
    return home


def _check_cluster(home: Home, postgres: Postgres) -> None:
    if not postgres.exists:
        raise HomeUnusable(
            f"The database of this instance is missing: {postgres.data} holds no PostgreSQL cluster.",
            "Mount it or put it back: a new, empty one is never made in its place.",
        )
    owner = postgres.data.stat().st_uid
    if owner != postgres.account.owner_id():
        raise HomeUnusable(
            f"The database {postgres.data} belongs to user {owner}, and would be run by user"
            f" {postgres.account.owner_id()}.",
            "Start `up` as the user who started it first.",
        )
    _check_version(postgres)
    if read_cluster_identifier(postgres) != home.instance.cluster:
        raise HomeUnusable(
            f"{postgres.data} holds another PostgreSQL cluster than the one of this instance.",
            "Put this instance's own one back, or point STRONGROOM_HOME to where the other one belongs.",
        )


def _check_version(postgres: Postgres) -> None:
    made_by = (postgres.data / "PG_VERSION").read_text(encoding="ascii").strip()
    ours = _run(postgres, "postgres", "--version").split()[-1].split(".")[0]
    if made_by != ours:
        raise HomeUnusable(
            f"The database was made by PostgreSQL {made_by}, and this release brings PostgreSQL {ours}.",
            "See docs/operations/upgrade.md.",
        )


def read_cluster_identifier(postgres: Postgres) -> str:
    """PostgreSQL's own number for the cluster: no two clusters share one, and it never changes."""
    for line in _run(postgres, "pg_controldata", "-D", str(postgres.data)).splitlines():
        name, _, value = line.partition(":")
        if name == "Database system identifier":
            return value.strip()
    raise HomeUnusable(f"{postgres.data} is damaged: it has no system identifier.", "Put it back from a copy.")


def _run(postgres: Postgres, program: str, *arguments: str) -> str:
    finished: subprocess.CompletedProcess[str] = subprocess.run(
        [str(postgres.bin / program), *arguments],
        **postgres.account.spawn_options,
        env=postgres.environment(),
        cwd=os.sep,
        capture_output=True,
        text=True,
        timeout=CONTROLDATA_SECONDS,
        check=False,
    )
    if finished.returncode:
        reason = (finished.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise HomeUnusable(f"{postgres.data} cannot be read by PostgreSQL: {reason}", "Put it back from a copy.")
    return finished.stdout
