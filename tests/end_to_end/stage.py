"""A whole small world: a kit, a tenant, a vault, a real gateway, and agents with homes of their own.

Commands run in this process through `agents.cli.run`, so that a test sees exit code, output and errors;
only RSA keys come from a faster maker.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from agents import cli
from agents.keys.enrollment import new_enrollment
from agents.keys.kit import Kit, create_kit
from agents.keys.rsa import PrivateKey, load_private

PASSPHRASE = "six words are enough for a test"


class KeyRing:
    """RSA keys by number, made once per run by the faster library; each test starts again at the first."""

    def __init__(self) -> None:
        self._made: list[PrivateKey] = []
        self._next = 0

    def start_again(self) -> None:
        self._next = 0

    def take(self) -> PrivateKey:
        if self._next == len(self._made):
            made = rsa.generate_private_key(65537, 3072)
            self._made.append(load_private(made.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())))
        self._next += 1
        return self._made[self._next - 1]


RING = KeyRing()


def quick_key() -> PrivateKey:
    """An RSA key that nobody else in this test has."""
    return RING.take()


@dataclass(frozen=True)
class Said:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def summary(self) -> dict[str, Any]:
        last = self.records[-1]
        assert last["message_type"] == "summary", self
        return last


@dataclass
class Agent:
    """One machine: its home, and the command as it would run there."""

    home: Path

    def run(self, *arguments: str | os.PathLike[str]) -> Said:
        out, err = io.StringIO(), io.StringIO()
        with self.environment(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = cli.run([os.fspath(argument) for argument in arguments])
        return Said(code, out.getvalue(), err.getvalue())

    def json(self, *arguments: str | os.PathLike[str]) -> Said:
        return self.run(*arguments, "--json")

    @contextlib.contextmanager
    def environment(self) -> Iterator[None]:
        before = dict(os.environ)
        os.environ |= {"STRONGROOM_AGENT_HOME": str(self.home), "STRONGROOM_PASSPHRASE": PASSPHRASE}
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


@dataclass
class World:
    """Tenant, vault and kit on a platform, and where its gateway listens."""

    directory: Path
    kit: Kit
    gateway: Any
    vault: Any

    @property
    def kit_directory(self) -> Path:
        return self.directory / "kit"

    def enrollment(self, **options: Any) -> str:
        """A fresh enrolment string."""
        from backup_platform.fleet.tokens import create_token

        write_only = options.get("write_only", False)
        made, blob = new_enrollment(
            self.gateway.host, self.gateway.port, self.gateway.ca_hash, self.kit.enrollment, write_only=write_only
        )
        create_token(self.vault, made.token, blob, actor="tests", **options)
        return made.format()

    def agent(self, name: str = "alpha", **options: Any) -> Agent:
        """An enrolled agent."""
        agent = Agent(self.directory / f"agent-{name}")
        said = agent.run("enroll", self.enrollment(**options), "--name", name)
        assert said.code == 0, said
        return agent


def make_world(directory: Path, gateway: Any) -> World:
    """Make kit, tenant and vault."""
    from backup_platform.tenants.models import Tenant
    from backup_platform.tenants.scope import without_tenant_scope
    from backup_platform.vaults.registration import read_registration
    from backup_platform.vaults.services import add_vault

    kit = create_kit(directory / "kit", PASSPHRASE, "north", opening=quick_key(), signing=quick_key(), rounds=1_000)
    with without_tenant_scope("the stage is set"):
        tenant = Tenant.objects.create(name="north")
    vault = add_vault(tenant, read_registration(kit.registration()), name="main", actor="tests")
    return World(directory, kit, gateway, vault)
