"""The home directory lost its files, or is gone altogether: a restore through the gateway comes from a bucket alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from backup_platform.catalog import stores
from backup_platform.catalog.models import Copy, CopyState, Snapshot
from backup_platform.catalog.reading import _rows
from backup_platform.jobs.models import Job, JobKind
from backup_platform.targets.models import Target
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from backup_platform.tiering.models import TierRule
from backup_platform.tiering.snapshot_objects import copy_objects
from tests.end_to_end.stage import Agent, World
from tests.tiering.stage import ticks

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    top = tmp_path / "source"
    top.mkdir()
    (top / "file").write_bytes(b"content " * 1000)
    return top


@pytest.fixture
def bucket(world: World, s3_target_row) -> Target:
    target = s3_target_row()
    with without_tenant_scope("test data"):
        TierRule.objects.create(target=target, at_once=True)
    return target


@pytest.fixture
def agent(world: World, source: Path, bucket: Target) -> Agent:
    """A machine whose one snapshot is whole at the bucket."""
    agent = world.agent()
    said = agent.json("backup", source, "--no-wait")
    assert said.code == 0, said
    with without_tenant_scope("test"):
        ticks(lambda: Copy.objects.filter(state=CopyState.GOOD).exists())
    with tenant_scope(world.vault.tenant_id):
        assert copy_objects(Snapshot.objects.get(), bucket)
    return agent


def home() -> Path:
    return stores.home() / "store"


def comes_back(agent: Agent, source: Path, out: Path) -> bool:
    _rows.clear()
    said = agent.json("restore", "latest", "--target", out, "--retry-for", "0")
    assert said.code == 0, said
    return (out / source.relative_to("/") / "file").read_bytes() == (source / "file").read_bytes()


def test_a_home_that_lost_its_files_or_its_disk_is_made_up_for_by_a_bucket(agent: Agent, source: Path, tmp_path: Path):
    (root,) = home().rglob("*.root")
    root.chmod(0o600)
    root.write_bytes(bytes(root.stat().st_size))
    assert comes_back(agent, source, tmp_path / "rotten root")
    with without_tenant_scope("test"):
        assert Job.objects.filter(kind=JobKind.HEAL, subject__startswith="snapshot:").exists()

    for path in [*home().rglob("*.root"), *home().rglob("*.pack")]:
        path.unlink()
    assert comes_back(agent, source, tmp_path / "no files")

    shutil.rmtree(home())
    assert comes_back(agent, source, tmp_path / "no disk")


@pytest.mark.defence
def test_a_bucket_that_is_away_or_rotten_is_not_believed(
    agent: Agent, source: Path, bucket: Target, s3_server, tmp_path: Path
):
    (root,) = home().rglob("*.root")
    key = root.relative_to(home()).as_posix()
    root.unlink()
    with without_tenant_scope("test"):
        Target.objects.filter(pk=bucket.pk).update(endpoint="http://127.0.0.1:9")
    said = agent.run("restore", "latest", "--target", tmp_path / "away", "--retry-for", "0")
    assert said.code == 5, said

    with without_tenant_scope("test"):
        Target.objects.filter(pk=bucket.pk).update(endpoint=s3_server.url)
    s3_server.client().put_object(Bucket=bucket.bucket, Key=key, Body=b"something else")
    said = agent.run("restore", "latest", "--target", tmp_path / "rotten", "--retry-for", "0")
    assert said.code == 20, said
    assert "damaged on the server" in said.err
