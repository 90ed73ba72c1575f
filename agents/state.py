"""The agent's home: the files that make this machine this machine.

The directory is 0700 and its files 0600. Each write is atomic: a new file, fsync, rename, fsync of the
directory. Everything but `cache.sqlite` is precious; `statement.last` above all, because without it the
agent could not tell a server that hides its newest snapshots from an honest one.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from agents.errors import HomeBusy, NotEnrolled, StateFault

HOME_VARIABLE = "STRONGROOM_AGENT_HOME"
ROOT_HOME = "/var/lib/strongroom-agent"
IDENTITY, READING = "identity.pem", "reading.pem"
CERTIFICATE, AUTHORITY = "certificate.pem", "ca.pem"
MACHINE, SECRET, RECORD = "machine.json", "secret", "machine.record"
LAST, PENDING = "statement.last", "statement.pending"
CACHE, LOCK, MACHINE_LOCK = "cache.sqlite", "lock", "machine.lock"
PRIVATE_FILES = (IDENTITY, READING, SECRET, MACHINE, RECORD, LAST, PENDING, CACHE)
# No file here is larger than a few kilobytes; a bound keeps a wrong file from filling the memory.
MAX_STATE_FILE = 1 << 20


@dataclass(frozen=True)
class MachineState:
    """What the agent knows of itself and of the vault it writes to (`machine.json`).

    `ca_pin` is SHA-256 of the platform's CA certificate (DER); `signing_key_hash` is SHA-256 of the vault's
    signing key (SPKI DER), learnt at enrolment from the sealed blob and never from the server;
    `record_number` is the highest vault record number seen.
    """

    host: str
    port: int
    machine_id: bytes
    tenant_id: bytes
    vault_id: bytes
    ca_pin: bytes
    signing_key_hash: bytes
    record_number: int
    epoch: int
    machine_name: str
    write_only: bool = False

    def to_json(self) -> bytes:
        """The file's content: bytes values in hexadecimal."""
        values = {name: value.hex() if isinstance(value, bytes) else value for name, value in asdict(self).items()}
        return json.dumps(values, indent=1, sort_keys=True).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> MachineState:
        """Read `machine.json`; raises ValueError or TypeError when a field is missing or of another kind."""
        raw = json.loads(data)
        if not isinstance(raw, dict):
            raise TypeError("it holds no object")
        return cls(**{field.name: _typed(raw, field.name, str(field.type)) for field in fields(cls)})


def _typed(raw: dict[str, Any], name: str, kind: str) -> Any:
    if name not in raw:
        raise ValueError(f"{name} is missing")
    value = raw[name]
    if kind == "bytes":
        return bytes.fromhex(value) if isinstance(value, str) else _wrong(name)
    expected: type = {"str": str, "int": int, "bool": bool}[kind]
    return value if type(value) is expected else _wrong(name)


def _wrong(name: str) -> Any:
    raise TypeError(f"{name} has the wrong type")


def default_home() -> Path:
    """STRONGROOM_AGENT_HOME, else root's fixed place, else the user's state directory."""
    if named := os.environ.get(HOME_VARIABLE):
        return Path(named)
    if os.geteuid() == 0:
        return Path(ROOT_HOME)
    from platformdirs import user_state_path

    return user_state_path("strongroom-agent")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def fsync_directory(path: Path) -> None:
    """Make the directory's names durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_private(path: Path, data: bytes) -> None:
    """Replace a file by `data` in one step, 0600, durable when this returns."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_directory(path.parent)


class AgentHome:
    """Typed access to one agent home. Loading raises NotEnrolled or StateFault, never OSError."""

    def __init__(self, path: Path | str | None = None) -> None:
        self.path = Path(path) if path is not None else default_home()

    @property
    def cache_path(self) -> Path:
        """Where the disposable cache lives; whoever opens it makes it 0600."""
        return self.path / CACHE

    @property
    def certificate_path(self) -> Path:
        return self.path / CERTIFICATE

    @property
    def identity_path(self) -> Path:
        return self.path / IDENTITY

    @property
    def is_enrolled(self) -> bool:
        """Whether an enrolment of this home was completed."""
        return (self.path / MACHINE).exists()

    def prepare(self) -> None:
        """Make the directory, 0700. Raises StateFault when that is impossible."""
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            if stat.S_IMODE(self.path.stat().st_mode) & 0o077:
                self.path.chmod(0o700)
        except OSError as fault:
            raise StateFault(
                f"The agent home {self.path} cannot be made: {fault.strerror}.",
                f"Make the directory yourself, or name another one in {HOME_VARIABLE}.",
            ) from fault

    # --- what enrolment writes -------------------------------------------------------------------

    def machine(self) -> MachineState:
        """The machine's own facts."""
        data = self._read(MACHINE)
        try:
            return MachineState.from_json(data)
        except (ValueError, TypeError) as fault:
            raise self._damaged(MACHINE, str(fault)) from fault

    def save_machine(self, machine: MachineState) -> None:
        self._write(MACHINE, machine.to_json())

    def remember_record_number(self, number: int) -> None:
        """Keep the highest vault record number seen; a lower one is refused from now on.

        Two commands may do this at once (`status` beside a backup): the lower number must not be written last.
        """
        if number <= self.machine().record_number:
            return
        with open(self.path / MACHINE_LOCK, "ab", opener=_private) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # held for one small write, and freed by the kernel if its holder dies
            machine = self.machine()
            if number > machine.record_number:
                self.save_machine(replace(machine, record_number=number))

    def identity_pem(self) -> bytes:
        """The identity key (PKCS#8 PEM, no passphrase): TLS and signatures."""
        return self._read(IDENTITY)

    def reading_pem(self) -> bytes:
        """The reading key (PKCS#8 PEM, no passphrase): unwraps this machine's own roots."""
        return self._read(READING)

    def save_keys(self, identity_pem: bytes, reading_pem: bytes) -> None:
        self._write(IDENTITY, identity_pem)
        self._write(READING, reading_pem)

    def certificate_pem(self) -> bytes:
        return self._read(CERTIFICATE)

    def authority_pem(self) -> bytes:
        return self._read(AUTHORITY)

    def save_certificates(self, certificate_pem: bytes, authority_pem: bytes) -> None:
        self._write(CERTIFICATE, certificate_pem)
        self._write(AUTHORITY, authority_pem)

    def dedup_secret(self) -> bytes:
        """The vault's dedup secret of the current epoch, 32 bytes."""
        secret = self._read(SECRET)
        if len(secret) != 32:
            raise self._damaged(SECRET, "it is not 32 bytes long")
        return secret

    def save_dedup_secret(self, secret: bytes) -> None:
        self._write(SECRET, secret)

    def machine_record(self) -> bytes:
        return self._read(RECORD)

    def save_machine_record(self, record: bytes) -> None:
        self._write(RECORD, record)

    # --- the machine's chain of statements -------------------------------------------------------

    def last_statement(self) -> bytes | None:
        """The newest statement that the server acknowledged, whole with its signature; None before the first."""
        from protocol.stored.errors import (
            FormatError,
        )  # here, since `strongroom --help` needs neither hashes nor formats
        from protocol.stored.statements import decode_statement

        statement = self._read_optional(LAST)
        try:
            return statement and decode_statement(statement).encode()
        except FormatError as fault:
            raise self._damaged(LAST, fault.why) from fault

    def pending_statement(self) -> bytes | None:
        """A statement that was sent and whose acknowledgement is not yet known; None normally."""
        return self._read_optional(PENDING)

    def save_pending_statement(self, statement: bytes) -> None:
        """To be durable before the commit is sent: the answer may be lost."""
        self._write(PENDING, statement)

    def promote_pending_statement(self) -> None:
        """The pending statement was acknowledged: it becomes the last one, and nothing is pending."""
        pending = self.path / PENDING
        if pending.exists():
            pending.rename(self.path / LAST)
            fsync_directory(self.path)

    def drop_pending_statement(self) -> None:
        """The server never took the pending statement: nothing is pending any more."""
        (self.path / PENDING).unlink(missing_ok=True)
        fsync_directory(self.path)

    # --- one user at a time ----------------------------------------------------------------------

    @contextmanager
    def locked(self, name: str = LOCK) -> Iterator[None]:
        """Hold this home for a backup or an enrolment (or, under another name, for the one daemon).

        Raises HomeBusy at once when another process does.
        """
        self.prepare()
        descriptor = os.open(self.path / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            self._take(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _take(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as fault:
            if fault.errno not in (errno.EAGAIN, errno.EACCES):
                raise StateFault(f"The lock of {self.path} cannot be taken: {fault.strerror}.") from fault
            raise HomeBusy(
                f"Another strongroom process works with {self.path}.", "Wait until it has finished, then try again."
            ) from fault

    # --- files -----------------------------------------------------------------------------------

    def _read_optional(self, name: str) -> bytes | None:
        try:
            with open(self.path / name, "rb") as file:
                data = file.read(MAX_STATE_FILE + 1)
        except FileNotFoundError:
            return None
        except OSError as fault:
            raise StateFault(
                f"The agent's file {self.path / name} cannot be read: {fault.strerror}.",
                "Run the command as the user who enrolled this machine.",
            ) from fault
        if len(data) > MAX_STATE_FILE:
            raise self._damaged(name, "it is far too large")
        return data

    def _read(self, name: str) -> bytes:
        data = self._read_optional(name)
        if data is not None:
            return data
        if self.is_enrolled:
            raise self._damaged(name, "it is missing")
        raise NotEnrolled(
            f"This machine is not enrolled: {self.path} holds no machine.",
            "Ask for an enrolment string and run `strongroom enroll`.",
        )

    def _write(self, name: str, data: bytes) -> None:
        try:
            write_private(self.path / name, data)
        except OSError as fault:
            raise StateFault(
                f"The agent's file {self.path / name} cannot be written: {fault.strerror}.",
                "Check free space and permissions of the agent home.",
            ) from fault

    def _damaged(self, name: str, why: str) -> StateFault:
        return StateFault(
            f"The agent's file {self.path / name} is damaged: {why}.",
            "Restore the agent home from a copy, or enrol the machine anew.",
        )
