"""STRONGROOM_HOME: what one instance keeps on this host.

    instance.json   the instance's id, where its servers' data is, which PostgreSQL cluster belongs to it
    lock            held by the running `up`; children.lock by it and by every process that it started
    run.json        how other commands reach the running instance (0600; there only while it runs)
    sockets         where the latest start put the servers' sockets, to be removed if that start was killed
    secrets/        0700, one file a secret, 0600
    servers/        PostgreSQL's and Valkey's data (or /var/lib/strongroom/<id>, see server_account)
    logs/           one file a process
    authority/ spool/ store/   the gateway's and the catalogue's, made by them

A home is made once. What is missing later is reported, never made anew: an empty database that looks like a fresh
start is how a lost mount turns into lost backups.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import uuid
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from backup_platform.embedded.durable_files import write_private
from backup_platform.embedded.errors import HomeUnusable
from backup_platform.embedded.locks import CHILDREN_LOCK, LOCK
from backup_platform.embedded.server_account import OUTSIDE_ROOT, ServerAccount

FORMAT = 1
INSTANCE = "instance.json"
SECRET_NAMES = ("django-key", "database-superuser", "database-owner", "database-application", "valkey")
# Less than this and PostgreSQL may stop in the middle of a write; a fresh instance takes about 90 MB.
MIN_FREE_BYTES = 256 * 1024 * 1024
# What may stand in a directory that is otherwise new.
HARMLESS = {LOCK, CHILDREN_LOCK, "lost+found", ".gitkeep"}


@dataclass(frozen=True)
class Instance:
    """The content of instance.json. CLUSTER is PostgreSQL's system identifier; empty until the cluster is made."""

    id: str
    servers: str
    cluster: str = ""
    format: int = FORMAT


@dataclass(frozen=True)
class Home:
    """An opened home: PATH is ours, and INSTANCE says what belongs to it."""

    path: Path
    instance: Instance

    @property
    def servers(self) -> Path:
        """Where the servers keep their data."""
        return Path(self.instance.servers)

    @property
    def logs(self) -> Path:
        """Where each process logs."""
        return self.path / "logs"

    def secret(self, name: str) -> str:
        """A secret that was made with the instance."""
        try:
            return (self.path / "secrets" / name).read_text(encoding="ascii").strip()
        except OSError as fault:
            raise HomeUnusable(
                f"The secret {self.path / 'secrets' / name} cannot be read ({fault.strerror}).",
                "Put it back from a copy of the home: the data of this instance cannot be opened without it.",
            ) from None

    def with_cluster(self, cluster: str) -> Home:
        """The same home, now knowing its PostgreSQL cluster; durable when this returns."""
        instance = replace(self.instance, cluster=cluster)
        write_private(self.path / INSTANCE, json.dumps(asdict(instance), indent=1) + "\n")
        return replace(self, instance=instance)


def open_home(path: Path, account: ServerAccount) -> Home:
    """The home at PATH, made if there is none yet. Raises HomeUnusable if it is not ours to use."""
    _check_place(path)
    described = path / INSTANCE
    if described.exists():
        home = Home(path, _read_instance(described))
        _check_servers(home)
    else:
        _check_new(path)
        home = _make_home(path, account)
    check_free_space(home)
    return home


def _check_place(path: Path) -> None:
    try:
        path.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
    except OSError as fault:
        raise HomeUnusable(
            f"The home {path} cannot be made: {fault.strerror}.", "Set STRONGROOM_HOME to a directory of yours."
        ) from None
    owner = path.stat().st_uid
    if owner != os.geteuid() or not os.access(path, os.W_OK | os.X_OK):
        raise HomeUnusable(
            f"The home {path} belongs to user {owner}, and you are user {os.geteuid()}.",
            "Run as its owner, or set STRONGROOM_HOME to a directory of yours.",
        )


def _check_new(path: Path) -> None:
    found = sorted(entry.name for entry in path.iterdir() if entry.name not in HARMLESS)
    if found:
        raise HomeUnusable(
            f"The home {path} has no {INSTANCE} but is not empty (it holds {', '.join(found[:3])}), so it is either"
            " not Strongroom's or damaged.",
            f"Choose an empty directory, or put {INSTANCE} back from a copy.",
        )


def _read_instance(described: Path) -> Instance:
    try:
        instance = Instance(**json.loads(described.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        raise HomeUnusable(
            f"{described} cannot be read as an instance's description.", "Put it back from a copy."
        ) from None
    if instance.format != FORMAT:
        raise HomeUnusable(
            f"{described} has format {instance.format}; this release knows {FORMAT}.", "Use the release that wrote it."
        )
    return instance


def _check_servers(home: Home) -> None:
    if not home.servers.is_dir():
        raise HomeUnusable(
            f"The data directory {home.servers} of this instance is missing.",
            "Mount it or put it back: a new, empty one is never made in its place.",
        )


def _make_home(path: Path, account: ServerAccount) -> Home:
    instance_id = uuid.uuid4().hex
    servers = path / "servers"
    if not account.can_enter(path):
        servers = OUTSIDE_ROOT / instance_id
        OUTSIDE_ROOT.mkdir(mode=0o711, parents=True, exist_ok=True)
    servers.mkdir(mode=0o711)
    for private in (path / "secrets", path / "logs"):
        private.mkdir(mode=0o700, exist_ok=True)
    for name in SECRET_NAMES:
        write_private(path / "secrets" / name, secrets.token_urlsafe(48) + "\n")
    instance = Instance(instance_id, str(servers))
    write_private(path / INSTANCE, json.dumps(asdict(instance), indent=1) + "\n")
    return Home(path, instance)


def check_free_space(home: Home, at_least: int = MIN_FREE_BYTES) -> None:
    """Raises HomeUnusable if the disk under the home or under the servers' data is as good as full."""
    for directory in {home.path, home.servers}:
        free = shutil.disk_usage(directory).free
        if free < at_least:
            raise HomeUnusable(
                f"The disk under {directory} is full: {free // 2**20} MB are free, and starting needs"
                f" {at_least // 2**20} MB.",
                "Free some space, then start again.",
            )
