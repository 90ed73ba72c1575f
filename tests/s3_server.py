"""A real S3 server for tests: SeaweedFS from its wheel, one for each process of the suite, on ports of its own.

    def test_…(s3_server): store = s3_server.store()             # a fresh bucket
    def test_…(s3_target_row): target = s3_target_row(tenant)    # a row that `open_store` opens
    def test_…(faulty_s3): store = faulty_s3.store()             # the same through a proxy that fails, see faulty_s3.py

The fixtures stand in tests/conftest.py. It keeps its data in a temporary directory and is killed at the end of the run.
"""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from uuid import uuid4

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from backup_platform.embedded.child import ends_with_parent
from backup_platform.storage.s3 import Abilities, Account, Keeping, Patience, Place, S3Store
from backup_platform.targets.credentials import Credentials, sealed
from backup_platform.targets.models import Target, TargetKind
from backup_platform.tenants.scope import without_tenant_scope

START_SECONDS = 200
STARTS = 3
"""A port that was free may be taken a moment later: then it is started again, on others."""
ACCESS_KEY, SECRET_KEY = "tests-access", "tests-secret-0123456789"
ABILITIES = Abilities(conditional_put=True, conditional_complete=True, checksums=True, ordered_listing=False)
"""What this server can do; tests/targets/test_probe.py finds out whether that is true."""
FLAGS = {"usable": True} | {
    "conditional_put": True,
    "conditional_complete": True,
    "checksums": True,
    "ordered_listing": False,
}
PATIENCE = Patience(connect=10, silence=60, attempts=4)


class S3Server:
    """A SeaweedFS and its one account."""

    access_key, secret_key = ACCESS_KEY, SECRET_KEY

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="strongroom-s3-"))
        self.url = ""
        self.process: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)

    def start(self) -> S3Server:
        """Serving: an object was put and read."""
        for attempt in range(STARTS):
            self._spawn()
            if self._wait():
                return self
            died = self.process.poll()
            self._kill()
            if attempt == STARTS - 1 or died is None:
                log = (self.directory / "log").read_text(errors="replace")[-3000:]
                raise RuntimeError(f"SeaweedFS did not start:\n{log}")
        raise AssertionError("unreachable")

    def stop(self) -> None:
        """Killed (its own stop takes half a minute), waited for, and its directory removed."""
        self._kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def client(self, url: str = "", key: str = ACCESS_KEY, secret: str = SECRET_KEY):
        """A plain boto3 client, as anybody would make one."""
        return boto3.client(
            "s3", endpoint_url=url or self.url, aws_access_key_id=key, aws_secret_access_key=secret,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}, connect_timeout=10, read_timeout=60, proxies={},
                          retries={"total_max_attempts": 3, "mode": "standard"},
                          request_checksum_calculation="when_required",
                          response_checksum_validation="when_required"),
        )  # fmt: skip

    def make_bucket(self, **options) -> str:
        """A fresh bucket's name."""
        name = f"bucket-{next(self._numbers)}-{uuid4().hex[:8]}"
        self.client().create_bucket(Bucket=name, **options)
        return name

    def store(
        self, bucket: str = "", *, prefix: str = "", url: str = "", abilities: Abilities = ABILITIES,
        keeping: Keeping | None = None, patience: Patience = PATIENCE, account: Account | None = None,
    ) -> S3Store:  # fmt: skip
        """A store in a bucket (a fresh one), at this server or through a proxy's `url`."""
        place = Place(bucket or self.make_bucket(), url or self.url, "us-east-1", private=True)
        return S3Store(place, account or Account(ACCESS_KEY, SECRET_KEY), prefix=prefix, abilities=abilities,
                       keeping=keeping, patience=patience)  # fmt: skip

    def _spawn(self) -> None:
        data = self.directory / "data"
        data.mkdir(exist_ok=True)
        ports = free_ports(8)
        self.url = f"http://127.0.0.1:{ports[3]}"
        self.process = subprocess.Popen(
            command(data, self._configuration(), ports),
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=(self.directory / "log").open("ab"),
            stderr=subprocess.STDOUT,
            preexec_fn=ends_with_parent(signal.SIGKILL),
        )

    def _configuration(self) -> Path:
        rights = ["Admin", "Read", "Write", "List", "Tagging"]
        account = {"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}
        file = self.directory / "s3.json"
        file.write_text(json.dumps({"identities": [{"name": "tests", "credentials": [account], "actions": rights}]}))
        return file

    def _wait(self) -> bool:
        """Whether it serves within the time; False as soon as it died."""
        assert self.process is not None
        client, bucket = self.client(), f"ready-{uuid4().hex[:8]}"
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            try:
                if not any(found["Name"] == bucket for found in client.list_buckets()["Buckets"]):
                    client.create_bucket(Bucket=bucket)
                client.put_object(Bucket=bucket, Key="ready", Body=b"ready")
                return client.get_object(Bucket=bucket, Key="ready")["Body"].read() == b"ready"
            except (BotoCoreError, ClientError):
                time.sleep(0.1)
        return False

    def _kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def command(data: Path, configuration: Path, ports: list[int]) -> list[str]:
    """How SeaweedFS is started: on this host only, without telemetry, quick to elect itself."""
    master, volume, filer, s3, *grpc = map(str, ports)
    return [
        str(Path(sys.executable).parent / "weed"), "server", "-master.telemetry=false", f"-dir={data}",
        "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-master.port={master}", f"-master.port.grpc={grpc[0]}",
        "-master.electionTimeout=1s", f"-volume.port={volume}", f"-volume.port.grpc={grpc[1]}",
        "-volume.preStopSeconds=0", "-filer", f"-filer.port={filer}", f"-filer.port.grpc={grpc[2]}", "-s3",
        f"-s3.port={s3}", f"-s3.port.grpc={grpc[3]}", "-s3.port.iceberg=0", "-s3.port.lance=0",
        f"-s3.config={configuration}", "-master.volumeSizeLimitMB=64", "-volume.max=0",
    ]  # fmt: skip


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens on just now, all different."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def target_rows(server: S3Server) -> Callable[..., Target]:
    """What makes rows of targets in fresh buckets: `make(tenant=None, url="", **fields)`; shared without a tenant."""

    def make(tenant=None, url: str = "", **fields) -> Target:
        values = {
            "name": f"bucket {uuid4().hex[:8]}", "kind": TargetKind.S3, "endpoint": url or server.url,
            "region": "us-east-1", "bucket": fields.get("bucket") or server.make_bucket(), "allow_private": True,
            "flags": dict(FLAGS),
        } | fields  # fmt: skip
        target = Target(tenant=tenant, **values)
        target.sealed = sealed(target, Credentials(ACCESS_KEY, SECRET_KEY))
        with without_tenant_scope("test data"):
            target.save()
        return target

    return make
