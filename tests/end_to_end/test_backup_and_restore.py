"""Enrol, back up, look, restore, compare: with the command that people use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from backup_platform.fleet.models import Machine
from backup_platform.tenants.scope import without_tenant_scope
from tests.end_to_end.stage import World
from tests.end_to_end.trees import describe, make_tree

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    top = tmp_path / "source"
    make_tree(top)
    return top


def restored(target: Path, source: Path) -> Path:
    return target / source.relative_to("/")


def test_restored_tree_equals_the_source_in_content_and_metadata(world: World, source: Path, tmp_path: Path):
    agent = world.agent()
    backup = agent.json("backup", source, "--no-wait")
    assert backup.code == 0, backup
    assert backup.summary["files_new"] == 70
    assert backup.summary["state"] == "received"
    target = tmp_path / "target"
    said = agent.json("restore", "latest", "--target", target)
    assert said.code == 0, said
    assert said.summary["snapshot_id"] == backup.summary["snapshot_id"]
    assert said.summary["files"] == 70
    assert describe(restored(target, source)) == describe(source)
    twins = [restored(target, source) / name for name in ("twin-a", "twin-b")]
    assert twins[0].samefile(twins[1])
    assert (restored(target, source) / "sparse").stat().st_blocks * 512 < 1_000_000
    assert not [name for name in os.listdir(restored(target, source)) if name.startswith(".strongroom")]


def test_second_backup_sends_nothing_and_both_snapshots_restore(world: World, source: Path, tmp_path: Path):
    agent = world.agent()
    first = agent.json("backup", source, "--no-wait").summary
    before = describe(source)
    (source / "many" / "file-007").write_bytes(b"changed")
    second = agent.json("backup", source, "--no-wait").summary
    assert (second["files_changed"], second["files_new"]) == (1, 0)
    assert second["bytes_sent"] < first["bytes_sent"] / 5
    listed = agent.json("snapshots")
    assert [record["id"] for record in listed.records[:-1]] == [second["snapshot_id"], first["snapshot_id"]]
    agent.run("restore", first["snapshot_id"][:8], "--target", tmp_path / "old")
    agent.run("restore", "latest", "--target", tmp_path / "new")
    assert describe(restored(tmp_path / "old", source)) == before
    assert describe(restored(tmp_path / "new", source)) == describe(source)


def test_restore_of_a_path_brings_that_path_alone(world: World, source: Path, tmp_path: Path):
    agent = world.agent()
    agent.run("backup", source, "--no-wait")
    said = agent.json("restore", f"latest:{source}/deep", "--target", tmp_path / "part")
    assert (said.code, said.summary["files"]) == (0, 1)
    assert describe(restored(tmp_path / "part", source) / "deep") == describe(source / "deep")
    assert os.listdir(restored(tmp_path / "part", source)) == ["deep"]
    one = agent.json("restore", f"latest:{source}/script", "--target", tmp_path / "one")
    assert one.summary["files"] == 1
    assert restored(tmp_path / "one", source).joinpath("script").read_bytes() == b"#!/bin/sh\n"
    nothing = agent.run("restore", f"latest:{source}/nothing", "--target", tmp_path / "none")
    assert nothing.code == 10


def test_ls_shows_one_level_or_all_and_escapes_hostile_names(world: World, source: Path):
    agent = world.agent()
    agent.run("backup", source, "--no-wait")
    said = agent.run("ls", f"latest:{source}", "-l")
    assert said.code == 0, said
    assert "\x1b" not in said.out
    assert "not-utf8-\\xff\\n\\x1b[31m" in said.out
    assert f"{source}/link -> deep/er" in said.out
    assert f"{source}/deep/er" not in said.out.replace("-> deep/er", "")
    records = agent.json("ls", f"latest:{source}", "-R").records[:-1]
    odd = next(record for record in records if "path_b64" in record)
    assert odd["type"] == "file"
    assert any(record["path"] == f"{source}/deep/er/still/leaf" for record in records)


def test_target_that_is_not_empty_is_refused_unless_overwriting(world: World, source: Path, tmp_path: Path):
    agent = world.agent()
    agent.run("backup", source, "--no-wait")
    target = tmp_path / "target"
    place = restored(target, source)
    place.mkdir(parents=True)
    (place / "script").write_bytes(b"older")
    (place / "own").write_bytes(b"stays")
    refused = agent.run("restore", "latest", "--target", target)
    assert refused.code == 2
    assert "--overwrite" in refused.err
    assert (place / "script").read_bytes() == b"older"
    said = agent.run("restore", "latest", "--target", target, "--overwrite")
    assert said.code == 0, said
    assert (place / "script").read_bytes() == b"#!/bin/sh\n"
    assert (place / "own").read_bytes() == b"stays"


def test_write_only_machine_is_refused_and_the_kit_reads_it_from_another_machine(
    world: World, source: Path, tmp_path: Path
):
    sealed = world.agent("sealed", write_only=True)
    assert sealed.run("backup", source, "--no-wait").code == 0
    refused = sealed.run("restore", "latest", "--target", tmp_path / "own")
    assert refused.code == 4
    assert "--kit" in refused.err
    other = world.agent("other")
    kit = ("--kit", world.kit_directory, "--machine", "sealed")
    listed = other.json("snapshots", *kit)
    assert listed.code == 0, listed
    assert listed.summary["snapshots"] == 1
    said = other.json("restore", "latest", "--target", tmp_path / "target", *kit)
    assert said.code == 0, said
    assert describe(restored(tmp_path / "target", source)) == describe(source)
    assert other.run("snapshots", "--machine", "sealed").code == 2


def test_wrong_passphrase_and_foreign_kit_are_authentication_faults(world: World, tmp_path: Path):
    from agents.keys.kit import create_kit
    from tests.end_to_end.stage import PASSPHRASE, quick_key

    agent = world.agent()
    create_kit(tmp_path / "kit", PASSPHRASE, "other", opening=quick_key(), signing=quick_key(), rounds=1_000)
    foreign = agent.run("snapshots", "--kit", tmp_path / "kit", "--machine", "alpha")
    assert foreign.code == 4
    assert "another vault" in foreign.err
    create_kit(tmp_path / "locked", "something else", "x", opening=quick_key(), signing=quick_key(), rounds=1_000)
    assert agent.run("snapshots", "--kit", tmp_path / "locked").code == 4


def test_snapshot_that_does_not_exist_is_code_10(world: World, source: Path, tmp_path: Path):
    agent = world.agent()
    assert agent.run("restore", "latest", "--target", tmp_path / "t").code == 10
    agent.run("backup", source / "empty", "--no-wait")
    assert agent.run("ls", "ffffffff").code == 10
    assert agent.run("ls", "latest:/nowhere").code == 10


def test_status_and_doctor_find_everything_in_order(world: World, source: Path):
    agent = world.agent()
    agent.run("backup", source / "many", "--no-wait")
    status = agent.json("status")
    assert status.code == 0, status
    assert status.summary["newest"]["state"] == "received"
    with without_tenant_scope("the test looks at the only machine"):
        identity = bytes(Machine.objects.get().identity_hash).hex()
    assert status.summary["fingerprint"].replace(" ", "") == identity
    doctor = agent.json("doctor", "--kit", world.kit_directory)
    assert doctor.code == 0, doctor
    assert doctor.summary["attention"] == 0, doctor.out
    (agent.home / "secret").chmod(0o644)
    loose = agent.run("doctor")
    assert loose.code == 1
    assert "chmod go=" in loose.out


def test_used_enrollment_string_is_refused_and_leaves_no_home(world: World, tmp_path: Path):
    from tests.end_to_end.stage import Agent

    string = world.enrollment()
    first, second = Agent(tmp_path / "one"), Agent(tmp_path / "two")
    said = first.run("enroll", string, "--name", "one")
    assert said.code == 0, said
    assert "process list" in said.err
    again = second.run("enroll", string, "--name", "two")
    assert again.code == 4
    assert not (tmp_path / "two").exists()
    assert not [path for path in tmp_path.iterdir() if "enrolling" in path.name]
    assert first.run("enroll", world.enrollment()).code == 1


def test_revoked_machine_is_refused_with_code_4(world: World, source: Path):
    from backup_platform.fleet.models import Machine
    from backup_platform.fleet.services import revoke_machine
    from backup_platform.tenants.scope import tenant_scope

    agent = world.agent()
    with tenant_scope(world.vault.tenant_id):
        revoke_machine(Machine.objects.get(name="alpha"), actor="tests")
    said = agent.run("backup", source, "--no-wait")
    assert said.code == 4
    assert "revoked" in said.err
