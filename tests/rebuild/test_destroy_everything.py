"""The promise of the whole page "come back from nothing": database and home gone, only a bucket and a kit are left.

A real platform (`manage.py up`), real agents, a real S3 server. Then the platform is destroyed, and everything comes
back twice over: into a new platform, and without any.
"""

from __future__ import annotations

import faulthandler
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.trees import describe, make_tree
from tests.platform.conftest import REPOSITORY, Platform, clean_environment, wait_until
from tests.s3_server import ACCESS_KEY, SECRET_KEY, S3Server

pytestmark = [pytest.mark.slow]

PASSPHRASE = "six words are enough for a test"
SECONDS = 400
MACHINES = ("alpha", "beta")


class Computer:
    """A machine with an agent of its own, run as a process."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def run(self, *arguments: Any, given: str = "", **more: str) -> list[dict[str, Any]]:
        """A command's JSON lines; it has to end well."""
        environment = clean_environment(
            self.home, STRONGROOM_AGENT_HOME=str(self.home), STRONGROOM_PASSPHRASE=PASSPHRASE
        )
        finished = subprocess.run(
            [sys.executable, "-m", "agents", *map(str, arguments), "--json"],
            cwd=REPOSITORY, env=environment | more, input=given, capture_output=True, text=True, timeout=SECONDS,
        )  # fmt: skip
        assert finished.returncode == 0, (arguments, finished.stdout[-1000:], finished.stderr[-2000:])
        return [json.loads(line) for line in finished.stdout.splitlines()]


@pytest.fixture
def ground() -> Iterator[Path]:
    """A directory that the servers' account may enter."""
    directory = Path(tempfile.mkdtemp(prefix="sr-ruins-"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


def succeed(platform: Platform, *arguments: str, **more: str) -> str:
    """A management command that has to end well; what it printed."""
    environment = clean_environment(platform.home, STRONGROOM_PASSPHRASE=PASSPHRASE, **more)
    said = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip
    assert said.returncode == 0, (arguments, said.stdout[-2000:], said.stderr[-2000:])
    return said.stdout


def enroll(platform: Platform, kit: Path, tenant: str, computer: Computer, name: str) -> None:
    made = succeed(platform, "create_enrollment", "--tenant", tenant, "--kit", str(kit), "--json")
    computer.run("enroll", "-", "--name", name, given=json.loads(made)["enrollment"] + "\n")


def is_whole_at_the_bucket(platform: Platform) -> bool:
    """Whether nothing is behind: every pack and every snapshot's objects were read back there."""
    status = json.loads(succeed(platform, "tier_status", "--tenant", "acme", "--json"))
    bucket = next(target for target in status["targets"] if target["name"] == "bucket")
    return status["packs"] > 0 and bucket["copies"] == status["packs"] and not bucket["lacking_packs"]


def back_up_everything(ground: Path, platform: Platform, kit: Path) -> dict[str, tuple[Path, dict[bytes, tuple]]]:
    """Three snapshots of two machines: by id, the source and what it was like."""
    was: dict[str, tuple[Path, dict[bytes, tuple]]] = {}
    for seed, name in enumerate(MACHINES):
        computer, source = Computer(ground / f"agent-{name}"), ground / f"source-{name}"
        make_tree(source, seed=seed)
        enroll(platform, kit, "acme", computer, name)
        for number in range(2 if name == "alpha" else 1):
            (source / "changing").write_bytes(os.urandom(300_000) + bytes((number,)))
            summary = computer.run("backup", source, "--no-wait")[-1]
            was[summary["snapshot_id"]] = (source, describe(source))
    return was


def test_everything_comes_back_from_a_bucket_and_a_kit(ground: Path, s3_server: S3Server):
    # Two platforms' lives are more than the suite's five minutes on a busy machine; each wait here has an end.
    faulthandler.cancel_dump_traceback_later()
    kit, bucket = ground / "kit", s3_server.make_bucket()
    old = Platform(ground / "old")
    old.directory.mkdir(mode=0o711)
    try:
        old.start(SECONDS)
        succeed(old, "create_tenant", "acme", "--kit", str(kit))
        succeed(
            old, "create_target", "bucket", "--kind", "s3", "--endpoint", s3_server.url, "--region", "us-east-1",
            "--bucket", bucket, "--prefix", "far/away", "--allow-private", "--json",
            STRONGROOM_TARGET_ACCESS_KEY=ACCESS_KEY, STRONGROOM_TARGET_SECRET_KEY=SECRET_KEY,
        )  # fmt: skip
        succeed(old, "set_tier_rule", "--target", "bucket", "--copy", "verified", "--at-once")
        was = back_up_everything(ground, old, kit)
        wait_until(lambda: is_whole_at_the_bucket(old), "all packs at the bucket", SECONDS)
        wait_until(lambda: statements_in(s3_server, bucket) == len(was), "all statements at the bucket", SECONDS)
        old.stop()
    finally:
        old.remove()  # the database, the home, the store: all of it
    for name in MACHINES:
        shutil.rmtree(ground / f"agent-{name}")
    account = {
        "AWS_ENDPOINT_URL": s3_server.url, "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
    }  # fmt: skip
    restore_without_a_server(ground, f"s3://{bucket}/far/away", kit, was, account)
    restore_through_a_new_platform(ground, f"s3://{bucket}/far/away", kit, was, account)


def statements_in(server: S3Server, bucket: str) -> int:
    return sum(key.endswith(".statement") for key in server.store(bucket, prefix="far/away").list())


def restore_without_a_server(ground: Path, url: str, kit: Path, was: dict[str, Any], account: dict[str, str]) -> None:
    """Each snapshot, from the bucket and the kit alone."""
    nobody = Computer(ground / "nobody")
    from_bucket = ("--from-target", url, "--kit", kit)
    listed = nobody.run("snapshots", *from_bucket, **account)[:-1]
    assert {record["id"] for record in listed} == set(was)
    (ground / "names").write_text("".join(json.dumps(record) + "\n" for record in listed))
    for record in listed:
        source, before = was[record["id"]]
        out = ground / f"alone-{record['id']}"
        nobody.run("restore", record["id"], *from_bucket, "--machine", record["machine"], "--target", out, **account)
        assert describe(out / source.relative_to("/")) == before


def restore_through_a_new_platform(
    ground: Path, url: str, kit: Path, was: dict[str, Any], account: dict[str, str]
) -> None:
    """Each snapshot, from a platform whose catalogue was made again from the bucket."""
    new = Platform(ground / "new")
    new.directory.mkdir(mode=0o711)
    try:
        new.start(SECONDS)
        said = succeed(
            new,
            "rebuild_catalog",
            "--s3",
            url,
            "--allow-private",
            "--names",
            str(ground / "names"),
            "--json",
            **account,
        )
        summary = json.loads(said.splitlines()[-1])
        assert (summary["damage"], summary["made"]["snapshots received"]) == (0, len(was)), said
        reader = Computer(ground / "agent-reader")
        tenant = json.loads(succeed(new, "shell", "-c", TENANT).splitlines()[-1])
        enroll(new, kit, tenant, reader, "reader")
        ids = {name: listing(reader, kit, name) for name in MACHINES}
        wait_until(
            lambda: all(record["state"] == "verified" for name in MACHINES for record in listing(reader, kit, name)),
            "every snapshot to be verified", SECONDS,
        )  # fmt: skip
        assert {record["id"] for records in ids.values() for record in records} == set(was)
        for name, records in ids.items():
            for record in records:
                source, before = was[record["id"]]
                out = ground / f"again-{record['id']}"
                reader.run("restore", record["id"], "--kit", kit, "--machine", name, "--target", out)
                assert describe(out / source.relative_to("/")) == before
        new.stop()
    finally:
        new.remove()


TENANT = """
import json
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import without_tenant_scope
with without_tenant_scope("the test asks for the name"):
    print(json.dumps(Tenant.objects.get().name))
"""


def listing(reader: Computer, kit: Path, name: str) -> list[dict[str, Any]]:
    return reader.run("snapshots", "--kit", kit, "--machine", name)[:-1]
