"""An S3 server for the demonstration: SeaweedFS out of its Python package, on this host, for as long as we run."""

from __future__ import annotations

import json
import secrets
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backup_platform.embedded.child import ends_with_parent
from backup_platform.embedded.demonstration.commands import StepFailed
from backup_platform.embedded.durable_files import write_private

BUCKET = "strongroom-demo"
REGION = "us-east-1"
START_SECONDS = 180
PORTS = 8


@dataclass
class BucketServer:
    """One S3 server with one account and one bucket; its data lies in a directory of the demonstration's."""

    directory: Path
    access_key: str = field(default_factory=lambda: f"demo{secrets.token_hex(6)}")
    secret_key: str = field(default_factory=lambda: secrets.token_hex(20), repr=False)
    process: subprocess.Popen[bytes] | None = None
    url: str = ""

    def start(self) -> None:
        """Serving, with an empty bucket. Raises StepFailed."""
        data = self.directory / "data"
        data.mkdir(mode=0o700, parents=True)
        ports = _free_ports(PORTS)
        self.url = f"http://127.0.0.1:{ports[3]}"
        self.process = subprocess.Popen(
            _command(data, self._accounts(), ports),
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=open(self.directory / "log", "ab"),  # noqa: SIM115 (it outlives this block)
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=ends_with_parent(signal.SIGKILL),
        )
        self._wait()

    def stop(self) -> None:
        """Ended and waited for: its own way of stopping takes half a minute, and what was put is on the disk."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    @property
    def credentials(self) -> dict[str, str]:
        """As a shell would hold them."""
        return {
            "STRONGROOM_TARGET_ACCESS_KEY": self.access_key,
            "STRONGROOM_TARGET_SECRET_KEY": self.secret_key,
        }

    def _accounts(self) -> Path:
        account = {"accessKey": self.access_key, "secretKey": self.secret_key}
        rights = ["Admin", "Read", "Write", "List", "Tagging"]
        file = self.directory / "accounts.json"
        write_private(file, json.dumps({"identities": [{"name": "demo", "credentials": [account], "actions": rights}]}))
        return file

    def _wait(self) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        client, end = self._client(), time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.process is not None and self.process.poll() is None:
            try:
                client.create_bucket(Bucket=BUCKET)
                client.put_object(Bucket=BUCKET, Key="ready", Body=b"ready")
                client.delete_object(Bucket=BUCKET, Key="ready")
                return
            except ClientError as fault:
                if fault.response.get("Error", {}).get("Code") == "BucketAlreadyOwnedByYou":
                    return
                time.sleep(0.2)
            except BotoCoreError:
                time.sleep(0.2)
        said = (self.directory / "log").read_text(errors="replace").strip().splitlines()[-6:]
        raise StepFailed("The S3 server did not start.", "It said:\n" + "\n".join(said))

    def _client(self) -> Any:
        import boto3  # a second to import, and most commands never need it
        from botocore.config import Config

        return boto3.client(
            "s3", endpoint_url=self.url, region_name=REGION, aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(s3={"addressing_style": "path"}, connect_timeout=5, read_timeout=30, proxies={},
                          retries={"total_max_attempts": 1}),
        )  # fmt: skip


def _command(data: Path, accounts: Path, ports: list[int]) -> list[str]:
    """On this host only, without telemetry, quick to elect itself."""
    master, volume, filer, s3, *inner = map(str, ports)
    return [
        str(Path(sys.executable).parent / "weed"), "server", "-master.telemetry=false", f"-dir={data}",
        "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-master.port={master}", f"-master.port.grpc={inner[0]}",
        "-master.electionTimeout=1s", f"-volume.port={volume}", f"-volume.port.grpc={inner[1]}",
        "-volume.preStopSeconds=0", "-filer", f"-filer.port={filer}", f"-filer.port.grpc={inner[2]}", "-s3",
        f"-s3.port={s3}", f"-s3.port.grpc={inner[3]}", "-s3.port.iceberg=0", "-s3.port.lance=0",
        f"-s3.config={accounts}", "-master.volumeSizeLimitMB=64", "-volume.max=0",
    ]  # fmt: skip


def _free_ports(number: int) -> list[int]:
    """Ports that nobody listens on just now, all different."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
