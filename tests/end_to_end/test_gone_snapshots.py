"""What a person at a machine sees of snapshots that are not listed, and what the platform sees of a drill there."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest
from django.db import transaction
from django.utils import timezone

from agents.transport import reading_link
from backup_platform.audit.models import Entry
from backup_platform.catalog.models import Snapshot, SnapshotState
from backup_platform.jobs.models import Job
from backup_platform.retention import lifecycle
from backup_platform.retention.expiring import expire
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from tests.end_to_end.stage import Agent, World

pytestmark = pytest.mark.django_db(transaction=True)
RULE = "Nothing keeps it: the last 3."


@pytest.fixture
def source(tmp_path: Path) -> Path:
    top = tmp_path / "source"
    top.mkdir()
    return top


@pytest.fixture
def agent(world: World, source: Path) -> Agent:
    return world.agent()


def back_up(agent: Agent, source: Path, content: str) -> str:
    (source / "file").write_text(content)
    said = agent.json("backup", source, "--no-wait")
    assert said.code == 0, said
    return str(said.summary["snapshot_id"])


def let_expire(world: World, *snapshots: str) -> None:
    """What retention does with them tonight."""
    tenant = world.vault.tenant_id
    ids = [UUID(hex=one) for one in snapshots]
    with tenant_scope(tenant):
        with transaction.atomic():
            Snapshot.objects.filter(pk__in=ids).update(state=SnapshotState.VERIFIED)
            rows = list(Snapshot.objects.filter(pk__in=ids))
            assert expire({RULE: rows}, by="retention", now=timezone.now()) == len(ids)
        lifecycle.write_due(tenant)


def hide(world: World, snapshot: str) -> None:
    """What a server does that would rather not have it."""
    with tenant_scope(world.vault.tenant_id):
        Snapshot.objects.filter(pk=UUID(hex=snapshot)).delete()


def test_expired_and_hidden_snapshots_are_told_apart(world: World, agent: Agent, source: Path, tmp_path: Path):
    made = [back_up(agent, source, f"content {number}") for number in range(6)]
    let_expire(world, made[1], made[2])
    today = timezone.localdate()
    said = agent.run("snapshots")
    assert said.code == 0, said
    assert f"Snapshots number 2 to 3 are not listed: expired on {today:%Y-%m-%d} by rule" in said.out
    assert f"(as the server records; unsigned). {RULE}" in said.out

    hide(world, made[4])
    said = agent.run("snapshots")
    assert said.code == 20, said
    assert "Snapshot number 5 is not listed: hidden: the server gives no reason." in said.out
    assert "number 2 to 3 are not listed: expired" in said.out
    record = agent.json("snapshots")
    assert record.code == 20
    assert record.summary["not_listed"] == [[2, 3], [5, 5]]
    assert record.summary["hidden"] == [[5, 5]]
    told = [one for one in record.records if one["message_type"] == "not_listed"]
    assert [(one["first"], one["last"], one["state"]) for one in told] == [(2, 3, "expired"), (5, 5, "hidden")]
    assert told[0]["because"] == RULE

    gone = agent.run("restore", made[1], "--target", tmp_path / "gone")
    assert gone.code == 10, gone
    assert "expired on" in gone.err
    assert "as the server records; unsigned" in gone.err
    hidden = agent.run("restore", made[4][:8], "--target", tmp_path / "hidden")
    assert hidden.code == 20, hidden
    assert "hidden: the server gives no reason" in hidden.err
    assert not (tmp_path / "gone").exists()
    assert not (tmp_path / "hidden").exists()

    for number in (0, 3, 5):  # the rest is as restorable as ever
        target = tmp_path / f"restored-{number}"
        assert agent.run("restore", made[number], "--target", target).code == 0
        (restored,) = target.rglob("file")
        assert restored.read_text() == f"content {number}"


def test_old_platform_is_asked_nothing_and_not_accused(
    world: World, agent: Agent, source: Path, monkeypatch: pytest.MonkeyPatch
):
    made = [back_up(agent, source, f"content {number}") for number in range(3)]
    let_expire(world, made[1])
    monkeypatch.setattr("backup_platform.gateway.session.FEATURES", ("control",))
    said = agent.run("snapshots")
    assert said.code == 0, said
    assert "Snapshot number 2 is not listed: expired, or hidden by the server." in said.out
    assert agent.run("restore", made[1], "--target", source.parent / "t").code == 10
    drilled = agent.json("drill")
    assert drilled.code == 0, drilled
    assert "proven" not in drilled.summary


def test_old_agent_goes_on_as_before(world: World, agent: Agent, source: Path, monkeypatch: pytest.MonkeyPatch):
    made = [back_up(agent, source, f"content {number}") for number in range(3)]
    let_expire(world, made[1])
    monkeypatch.setattr(reading_link, "LIFECYCLE", "something-else")
    said = agent.run("snapshots")
    assert said.code == 0, said
    assert "Snapshot number 2 is not listed: expired, or hidden by the server." in said.out


def test_gap_of_another_machine_is_explained_with_the_kit(world: World, agent: Agent, source: Path):
    made = [back_up(agent, source, f"content {number}") for number in range(3)]
    let_expire(world, made[1])
    other = world.agent("beta")
    said = other.run("snapshots", "--kit", world.kit_directory, "--machine", "alpha")
    assert said.code == 0, said
    assert "Snapshot number 2 is not listed: expired on" in said.out


def proven_at(world: World, snapshot: str):
    with tenant_scope(world.vault.tenant_id):
        return Snapshot.objects.get(pk=UUID(hex=snapshot)).proven_at


def jobs(world: World) -> list[Job]:
    with without_tenant_scope("test"):
        return list(Job.objects.filter(kind="drill"))


def test_drill_by_hand_makes_the_snapshot_proven(world: World, agent: Agent, source: Path):
    made = back_up(agent, source, "content")
    said = agent.run("drill")
    assert said.code == 0, said
    assert "The platform was told (by hand): the snapshot is proven." in said.out
    assert proven_at(world, made) is not None
    (job,) = jobs(world)
    assert (job.state, job.origin, job.snapshot) == ("done", "machine", UUID(hex=made))
    assert job.counts["files"] == 1
    with tenant_scope(world.vault.tenant_id):
        assert Entry.objects.filter(verb="drill.by_hand").count() == 1
    assert agent.json("drill").summary["proven"] is True


def test_drill_that_found_something_proves_nothing_and_is_told(
    world: World, agent: Agent, source: Path, monkeypatch: pytest.MonkeyPatch
):
    from agents.engine.restoring import Restorer

    made = back_up(agent, source, "content")
    run = Restorer.run

    def spoiling(restorer: Restorer):
        result = run(restorer)
        for path in (agent.home / "drills").rglob("file"):
            path.write_text("spoilt!")
        return result

    monkeypatch.setattr(Restorer, "run", spoiling)
    said = agent.json("drill")
    assert said.code == 3, said
    assert said.summary["proven"] is False
    assert proven_at(world, made) is None
    (job,) = jobs(world)
    assert job.state == "warnings"
    assert "could not be restored for trial" in job.last_error
    assert str(source) not in job.last_error


def test_drill_of_another_machines_snapshot_tells_nothing(world: World, agent: Agent, source: Path):
    made = back_up(agent, source, "content")
    other = world.agent("beta")
    said = other.json("drill", "--kit", world.kit_directory, "--machine", "alpha")
    assert said.code == 0, said
    assert "proven" not in said.summary
    assert jobs(world) == []
    assert proven_at(world, made) is None


def test_drill_stands_though_the_platform_cannot_be_told(
    world: World, agent: Agent, source: Path, monkeypatch: pytest.MonkeyPatch
):
    back_up(agent, source, "content")
    monkeypatch.setattr("backup_platform.jobs.drills_by_hand.MOST_A_DAY", 0)
    said = agent.run("drill")
    assert said.code == 0, said
    assert "could not be told" in said.err
    assert "came back as it was saved" in said.out
