"""A bucket with cold storage classes: moto, since the real server of the other tests has none.

Objects are put warm and moved to the cold class afterwards, as a provider's own rule does. What was asked for can be
read after `seconds`.
"""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import boto3
import pytest
from botocore.config import Config
from moto.moto_api import state_manager
from moto.server import ThreadedMotoServer

from backup_platform.targets.models import Target
from tests.s3_server import ACCESS_KEY, SECRET_KEY, target_rows

RESTORE = "s3::keyrestore"


class ColdS3:
    """A bucket at a moto of its own."""

    def __init__(self) -> None:
        self._server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.url, self.bucket = f"http://{host}:{port}", f"cold-{uuid4().hex}"  # what moto holds outlives its server
        self.client = boto3.client(
            "s3", endpoint_url=self.url, aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY,
            region_name="us-east-1", config=Config(s3={"addressing_style": "path"}, proxies={}),
        )  # fmt: skip
        self.client.create_bucket(Bucket=self.bucket)

    def make_bucket(self) -> str:
        return self.bucket

    def row(self, tenant=None) -> Target:
        """A target's row that `open_store` opens."""
        return target_rows(self)(tenant)  # type: ignore[arg-type]

    def keys(self, ending: str = "") -> list[str]:
        found = self.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return sorted(item["Key"] for item in found if item["Key"].endswith(ending))

    def freeze(self, ending: str = ".pack") -> list[str]:
        """What a provider's rule does with objects of this name; their keys."""
        keys = self.keys(ending)
        for key in keys:
            source = {"Bucket": self.bucket, "Key": key}
            self.client.copy_object(Bucket=self.bucket, Key=key, CopySource=source, StorageClass="GLACIER")
        return keys

    def asked(self) -> list[str]:
        """The keys that somebody has asked for."""
        return [key for key in self.keys() if "Restore" in self.client.head_object(Bucket=self.bucket, Key=key)]

    def takes(self, seconds: float) -> None:
        """How long thawing takes from now on."""
        state_manager.set_transition(RESTORE, transition={"progression": "time", "seconds": seconds})

    def stop(self) -> None:
        state_manager.unset_transition(RESTORE)
        self._server.stop()


@pytest.fixture
def cold_s3() -> Iterator[ColdS3]:
    """Nothing comes back before `takes` says so."""
    server = ColdS3()
    server.takes(100_000)
    yield server
    server.stop()
