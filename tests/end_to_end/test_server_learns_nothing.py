"""Nothing that the server gets to see, writes or logs holds a secret, a plaintext hash, a name or content."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.engine.sealing import ChunkSealer
from agents.state import AgentHome
from protocol.wire import Connection, Role
from tests.end_to_end.stage import PASSPHRASE, World
from tests.end_to_end.trees import describe, make_tree

pytestmark = pytest.mark.django_db(transaction=True)

NAME = "canary-folder-8d1f"
CONTENT = b"canary-content-77aa03" * 20_000


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> bytearray:
    """Every byte that the gateway reads after TLS took its armour off."""
    everything, filled, buffer = bytearray(), Connection.filled, Connection.buffer
    handed: dict[int, memoryview] = {}

    def remember(self: Connection) -> memoryview:
        handed[id(self)] = view = buffer(self)
        return view

    def keep(self: Connection, count: int) -> None:
        if self.role is Role.GATEWAY:
            everything.extend(handed[id(self)][:count])
        filled(self, count)

    monkeypatch.setattr(Connection, "buffer", remember)
    monkeypatch.setattr(Connection, "filled", keep)
    return everything


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> dict[bytes, bytes]:
    """The plaintext hash, and the id, of every chunk that an agent names."""
    seen: dict[bytes, bytes] = {}
    identify = ChunkSealer.identify

    def keep(self: ChunkSealer, plaintext: bytes) -> tuple[bytes, bytes]:
        h, chunk_id = identify(self, plaintext)
        seen[h] = chunk_id
        return h, chunk_id

    monkeypatch.setattr(ChunkSealer, "identify", keep)
    return seen


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """Every log record of this process, at every level, with its arguments and tracebacks."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(f"{self.format(record)} {record.__dict__!r}")

    root, handler = logging.getLogger(), Keep(level=logging.DEBUG)
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield lines
    root.removeHandler(handler)
    root.setLevel(level)


def rows() -> Iterator[bytes]:
    """Every value of every row of every table, as PostgreSQL writes it."""
    from django.db import connection
    from psycopg import sql

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        for table in cursor.fetchall():
            cursor.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(*table)))
            for row in cursor.fetchall():
                for value in row:
                    yield bytes(value) if isinstance(value, bytes | memoryview) else repr(value).encode()


def files(home: Path) -> Iterator[bytes]:
    """Every file of the server, except the authority's own keys, and its name."""
    for path in home.rglob("*"):
        yield bytes(path)
        if path.is_file():
            yield path.read_bytes()


def forms(name: str, secret: bytes) -> dict[str, bytes]:
    """A secret as it might be written down."""
    return {
        f"{name} raw": secret,
        f"{name} hex": secret.hex().encode(),
        f"{name} base64": base64.b64encode(secret).rstrip(b"="),
        f"{name} base64url": base64.urlsafe_b64encode(secret).rstrip(b"="),
        f"{name} repr": repr(secret)[2:-1].encode(),
    }


def private_keys(directory: Path) -> dict[str, bytes]:
    """The middle of every private key file: no header, no padding, nothing that a public key shares."""
    found = {}
    for path in directory.glob("*.pem"):
        text = path.read_text()
        if "PRIVATE" in text:
            lines = text.splitlines()
            found[path.name] = lines[len(lines) // 2].encode()
            found[path.name + " DER"] = base64.b64decode(lines[len(lines) // 2])
    return found


def test_no_request_row_file_or_log_line_of_the_server_holds_a_secret(
    world: World,
    tmp_path: Path,
    strongroom_home: Path,
    received: bytearray,
    hashes: dict[bytes, bytes],
    logged: list[str],
):
    source = tmp_path / NAME
    make_tree(source)
    (source / "canary-file-c0ffee").write_bytes(CONTENT)
    agent, other = world.agent("alpha"), world.agent("beta")
    assert agent.run("backup", source, "--no-wait").code == 0
    assert agent.run("ls", f"latest:{source}", "-R").code == 0
    assert agent.run("restore", "latest", "--target", tmp_path / "own").code == 0
    kit = ("--kit", world.kit_directory, "--machine", "alpha")
    assert other.run("restore", "latest", "--target", tmp_path / "kit-target", *kit).code == 0
    assert agent.run("status").code == 0
    assert describe(tmp_path / "own" / source.relative_to("/")) == describe(source)

    secret = AgentHome(agent.home).dedup_secret()
    forbidden = forms("dedup secret", secret)
    assert len(hashes) > 5
    for number, h in enumerate(hashes):
        forbidden |= forms(f"h {number}", h)
    forbidden |= {"folder name": NAME.encode(), "file name": b"canary-file-c0ffee", "content": CONTENT[:42]}
    forbidden |= {"passphrase": PASSPHRASE.encode()}
    for directory in (agent.home, other.home, world.kit_directory):
        forbidden |= {f"{directory.name}/{name}": key for name, key in private_keys(directory).items()}

    seen = b"\0".join([bytes(received), *rows(), *files(strongroom_home), *(line.encode() for line in logged)])
    assert all(chunk_id in seen for chunk_id in hashes.values())  # the search finds what the server does have
    assert {name for name, needle in forbidden.items() if needle in seen} == set()
