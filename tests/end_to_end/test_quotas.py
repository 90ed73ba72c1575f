"""What people at a machine see when their tenant's quota is used up: a sentence, exit code 5, and nothing lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from backup_platform.gateway.limits import GatewayLimits
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.tenants.stored import stored_of
from tests.end_to_end.stage import Agent, World
from tests.end_to_end.trees import describe
from tests.gateway.fixtures import RunningGateway

pytestmark = pytest.mark.django_db(transaction=True)

MIB = 2**20


@pytest.fixture
def running_gateway(gateway_factory) -> RunningGateway:
    """Packs are full after a mebibyte, so that a test need not send 64."""
    return gateway_factory(limits=GatewayLimits(pack_bytes=MIB, append_batch=MIB // 4))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    top = tmp_path / "source"
    top.mkdir()
    return top


def set_quota(world: World, size: int | None = None, machines: int | None = None) -> None:
    with without_tenant_scope("test"):
        Tenant.objects.filter(pk=world.vault.tenant_id).update(quota_bytes=size, quota_machines=machines)


def used(world: World) -> int:
    return stored_of(world.vault.tenant_id).bytes


def add_files(source: Path, count: int, size: int = MIB) -> None:
    """Files that nothing makes smaller."""
    for number in range(count):
        (source / f"{count}-{number:03}").write_bytes(os.urandom(size))


def back_up(agent: Agent, source: Path):
    return agent.json("backup", source, "--no-wait", "--retry-for", "30")


def test_new_backups_are_refused_with_a_sentence_restores_go_on_and_room_helps(
    world: World, source: Path, tmp_path: Path
):
    agent = world.agent()
    add_files(source, 3)
    assert back_up(agent, source).code == 0
    before = describe(source)
    set_quota(world, used(world))
    late = world.agent("late")
    said = late.run("backup", source, "--no-wait", "--retry-for", "30")
    assert said.code == 5, said
    assert "The tenant's quota of stored data is used up: 3." in said.err
    assert "No new backup begins until there is room." in said.err
    assert "ask the operator of the platform for a larger quota" in said.err
    restored = tmp_path / "restored"
    assert agent.run("restore", "latest", "--target", restored).code == 0
    assert describe(restored / source.relative_to("/")) == before
    set_quota(world, 2 * used(world))
    assert back_up(late, source).code == 0


def test_a_backup_that_outgrows_the_quota_ends_honestly_and_a_later_one_goes_on_from_it(
    world: World, source: Path, tmp_path: Path
):
    quota, agent = 4 * MIB, world.agent()
    set_quota(world, quota)
    add_files(source, 12)
    said = agent.run("backup", source, "--no-wait", "--retry-for", "30")
    assert said.code == 5, said
    assert "what arrived is kept, and a later one goes on from it" in said.err
    kept = used(world)
    assert quota < kept <= quota * 1.05 + 3 * MIB, "a twentieth, and the pack that was open"
    assert agent.run("snapshots").code == 0
    set_quota(world, 100 * MIB)
    done = back_up(agent, source)
    assert done.code == 0, done
    assert done.summary["bytes_sent"] <= 12.1 * MIB - kept + MIB, "what had arrived is not sent again"
    restored = tmp_path / "restored"
    assert agent.run("restore", "latest", "--target", restored).code == 0
    assert describe(restored / source.relative_to("/")) == describe(source)


def test_a_machine_beyond_the_quota_is_told_so_and_its_string_works_later(world: World, tmp_path: Path):
    world.agent()
    string, newcomer = world.enrollment(), Agent(tmp_path / "newcomer")
    set_quota(world, machines=1)
    said = newcomer.run("enroll", string, "--name", "newcomer")
    assert said.code == 5, said
    assert "may have 1 machine and has as many" in said.err
    set_quota(world, machines=2)
    assert newcomer.run("enroll", string, "--name", "newcomer").code == 0
