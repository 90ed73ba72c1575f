"""One Valkey server of our own: password, unix socket only, append-only file.

`appendfsync everysec` may lose the last second: rows are the truth and a sweep sends again what was lost. `noeviction`
because an evicted queue is a lost binding, not a cache miss.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import redis

from backup_platform.embedded.server_account import ServerAccount

MAX_MEMORY = "256mb"


@dataclass(frozen=True)
class Valkey:
    """A server that keeps its file in DATA and its socket in SOCKETS, run by ACCOUNT."""

    data: Path
    sockets: Path
    program: Path
    account: ServerAccount
    password: str = field(repr=False)

    def prepare(self) -> None:
        """Make the data directory."""
        self.data.mkdir(mode=0o700, exist_ok=True)
        self.account.own(self.data)

    @property
    def socket(self) -> Path:
        """The socket's path."""
        return self.sockets / "valkey.sock"

    def command(self) -> list[str]:
        """The server's command line: the configuration comes on standard input, so `ps` shows no password."""
        return [str(self.program), "-"]

    def configuration(self) -> bytes:
        """What the server reads from standard input."""
        lines = {
            "port": "0",
            "unixsocket": f'"{self.socket}"',
            "unixsocketperm": "700",
            "requirepass": self.password,
            "dir": f'"{self.data}"',
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": '""',
            "maxmemory": MAX_MEMORY,
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            "logfile": '""',
            "loglevel": "notice",
        }
        return "".join(f"{name} {value}\n" for name, value in lines.items()).encode()

    def environment(self) -> dict[str, str]:
        """A small, neutral environment."""
        return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", "HOME": "/"}

    @property
    def url(self) -> str:
        """The address, as REDIS_URL spells it."""
        return f"unix://:{quote(self.password)}@{self.socket}?db=0"

    def connect(self) -> redis.Redis:
        """A client with short waits."""
        return redis.Redis(
            unix_socket_path=str(self.socket), password=self.password, socket_timeout=5, socket_connect_timeout=5
        )
