"""The peers: restic over TLS (to `rclone serve restic`), and borg into a local repository.

Both are measured as they are installed here. What is not installed is said so, and has no figure.
"""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from benchmarks.contenders import Contender, fresh_directory
from benchmarks.measuring import Sample, ServerSide, StepFailed, last_words, run_step, size_of

PASSWORD = "bench"
START_SECONDS = 20


class Restic:
    """restic with its defaults, over HTTPS on the loopback: the nearest to an agent and a gateway."""

    name = "restic"

    def __init__(self, work: Path) -> None:
        self.work = work / "restic"
        self.repository, self.log = self.work / "repository", self.work / "restic.log"
        self.environment = {
            **os.environ,
            "RESTIC_PASSWORD": PASSWORD,
            "RESTIC_CACHE_DIR": str(self.work / "cache"),
        }

    def open(self) -> None:
        """A server with a certificate of its own, and an empty repository."""
        fresh_directory(self.work)
        self.repository.mkdir()
        certificate, key = self.work / "certificate.pem", self.work / "key.pem"
        make_certificate(certificate, key)
        address = f"127.0.0.1:{free_port()}"
        command = ["rclone", "serve", "restic", "--addr", address, "--cert", certificate, "--key", key]
        with open(self.work / "rclone.log", "ab") as log:
            self.server = subprocess.Popen(
                [*map(str, command), "--config", "/dev/null", str(self.repository)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_for_port(address, self.work / "rclone.log")
        self.restic = ["restic", "-q", "--cacert", str(certificate), "-r", f"rest:https://{address}/"]
        self._run("init")

    def _run(self, *arguments: str) -> Sample:
        server = ServerSide([self.server.pid], self.server.pid)
        return run_step([*self.restic, *arguments], self.environment, self.log, server=server)

    def backup(self, source: Path) -> Sample:
        """`backup`."""
        return self._run("backup", str(source))

    def restore(self, target: Path) -> Sample:
        """`restore latest`."""
        return self._run("restore", "latest", "--target", str(target))

    def restored(self, target: Path, source: Path) -> Path:
        """By the full original path."""
        return target / str(source).lstrip("/")

    def check(self) -> Sample:
        """`check --read-data`."""
        return self._run("check", "--read-data")

    def size(self) -> float:
        """The repository."""
        return size_of(self.repository)

    def close(self) -> None:
        """Stop the server and remove the repository."""
        if hasattr(self, "server"):
            self.server.terminate()
            self.server.wait()
        shutil.rmtree(self.work, ignore_errors=True)


class Borg:
    """borg, encrypted, with zstd where it pays; the repository is local, so it has no network in its way."""

    name = "borg"

    def __init__(self, work: Path) -> None:
        self.work = work / "borg"
        self.repository, self.log = self.work / "repository", self.work / "borg.log"
        self.environment = {
            **os.environ,
            "BORG_PASSPHRASE": PASSWORD,
            "BORG_BASE_DIR": str(self.work / "base"),
            "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
            "BORG_CHECK_I_KNOW_WHAT_I_AM_DOING": "YES",
        }

    def open(self) -> None:
        """An empty repository."""
        fresh_directory(self.work)
        (self.work / "base").mkdir()
        self.archives = 0
        self._run("init", "-e", "repokey", str(self.repository))

    def _run(self, *arguments: str, directory: Path | None = None) -> Sample:
        return run_step(["borg", *arguments], self.environment, self.log, directory=directory, allowed=(0, 1))

    def backup(self, source: Path) -> Sample:
        """`create --compression auto,zstd,3`."""
        self.archives += 1
        archive = f"{self.repository}::{self.archives}"
        return self._run("create", "--compression", "auto,zstd,3", archive, source.name, directory=source.parent)

    def restore(self, target: Path) -> Sample:
        """`extract` of the newest archive."""
        return self._run("extract", f"{self.repository}::{self.archives}", directory=target)

    def restored(self, target: Path, source: Path) -> Path:
        """By the name that was given."""
        return target / source.name

    def check(self) -> Sample:
        """`check --verify-data`."""
        return self._run("check", "--verify-data", str(self.repository))

    def size(self) -> float:
        """The repository."""
        return size_of(self.repository)

    def close(self) -> None:
        """Remove the repository."""
        shutil.rmtree(self.work, ignore_errors=True)


PEERS: dict[str, type[Restic] | type[Borg]] = {"restic": Restic, "borg": Borg}
PROGRAMS = {"restic": ("restic", "rclone"), "borg": ("borg",)}


def find_peers(wanted: list[str]) -> tuple[list[str], dict[str, str], list[str]]:
    """Of the WANTED: the usable ones, the versions of their programs, and a sentence for each that is missing."""
    usable, versions, missing = [], {}, []
    for name in wanted:
        absent = [program for program in PROGRAMS[name] if not shutil.which(program)]
        if absent:
            missing.append(f"{name} is not measured: {' and '.join(absent)} not installed.")
            continue
        usable.append(name)
        versions.update({program: version_of(program) for program in PROGRAMS[name]})
    return usable, versions, missing


def make_peer(name: str, work: Path) -> Contender:
    """A peer with a place below WORK."""
    return PEERS[name](work)


def version_of(program: str) -> str:
    """The version that PROGRAM says it has."""
    argument = "--version" if program == "borg" else "version"
    said = subprocess.run([program, argument], capture_output=True, text=True, check=False, timeout=60).stdout.split()
    return said[1].lstrip("v") if len(said) > 1 else "unknown"


def make_certificate(certificate: Path, key: Path) -> None:
    """A self-signed certificate for 127.0.0.1, good for a day."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    key.write_bytes(private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(address: str, log: Path) -> None:
    """Wait until somebody listens. Raises StepFailed with the server's words."""
    host, port = address.split(":")
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        try:
            socket.create_connection((host, int(port)), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise StepFailed(f"Nothing listens on {address}:\n{last_words(log)}")
