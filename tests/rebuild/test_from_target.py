"""Restoring without any server: the store's files and the recovery kit, checked as strictly as a gateway's answers."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.end_to_end.stage import PASSPHRASE, Agent, quick_key
from tests.rebuild.stage import Ruins, flip, spoil_and_heal

pytestmark = pytest.mark.django_db(transaction=True)


def the_statement(ruins: Ruins, machine: str, number: int) -> Path:
    found = ruins.ids[machine, number]
    return next(ruins.store.rglob(f"{number:020}-{found}.statement"))


def test_every_snapshot_restores_equal_without_any_server(ruins: Ruins, tmp_path: Path):
    for (machine, number), snapshot in ruins.ids.items():
        out = tmp_path / f"out-{machine}-{number}"
        said = ruins.with_kit("restore", snapshot, "--target", out, machine=machine)
        assert said.code == 0, said
        assert ruins.restored(out, machine) == ruins.was[machine, number]


def test_list_names_every_machine_of_the_store(ruins: Ruins):
    said = ruins.with_kit("snapshots", machine="")
    assert said.code == 0, said
    shown = {(record["machine"], record["sequence"]): record["id"] for record in said.records[:-1]}
    assert shown == ruins.ids
    assert {record["files"] for record in said.records[:-1]} == {70, 71}
    assert {record["state"] for record in said.records[:-1]} == {"stored"}


def test_ls_shows_what_a_snapshot_holds(ruins: Ruins):
    source = ruins.sources["beta"]
    said = ruins.with_kit("ls", f"latest:{source}/deep", machine="beta")
    assert said.code == 0, said
    assert [record["path"] for record in said.records[:-1]] == [f"{source}/deep/er"]


def test_machine_reads_its_own_snapshots_with_its_own_keys(ruins: Ruins, tmp_path: Path):
    said = ruins.agent("alpha").json("restore", "latest", "--from-target", ruins.store, "--target", tmp_path / "own")
    assert said.code == 0, said
    assert ruins.restored(tmp_path / "own", "alpha") == ruins.was["alpha", 2]


def test_unnamed_machine_among_several_is_asked_for_by_name_or_id(ruins: Ruins, tmp_path: Path):
    said = ruins.with_kit("restore", "latest", "--target", tmp_path / "out", machine="", json=False)
    assert said.code == 2
    assert "alpha" in said.err
    assert "beta" in said.err
    assert ruins.with_kit("ls", "latest", machine="gamma").code == 10


def test_directory_without_the_mark_of_a_store_is_not_an_empty_store(ruins: Ruins):
    (ruins.store / ".strongroom-store").unlink()
    said = ruins.with_kit("snapshots", json=False)
    assert said.code == 2
    assert ".strongroom-store" in said.err


def test_kit_of_another_vault_finds_nothing(ruins: Ruins, tmp_path: Path):
    from agents.keys.kit import create_kit

    create_kit(tmp_path / "other", PASSPHRASE, "other", opening=quick_key(), signing=quick_key(), rounds=1_000)
    nobody = Agent(tmp_path / "nobody")
    said = nobody.run("snapshots", "--from-target", ruins.store, "--kit", tmp_path / "other")
    assert said.code == 2
    assert "holds nothing of this vault" in said.err


@pytest.mark.defence
def test_root_of_another_snapshot_is_refused(ruins: Ruins, tmp_path: Path):
    first, second = (next(ruins.store.rglob(f"{ruins.ids['alpha', n]}.root")) for n in (1, 2))
    shutil.copy(first.with_suffix(".recipients"), second.with_suffix(".recipients.new"))
    second.with_suffix(".recipients.new").replace(second.with_suffix(".recipients"))
    second.unlink()
    shutil.copy(first, second)
    said = ruins.with_kit(
        "restore", ruins.ids["alpha", 2], "--target", tmp_path / "out",
        machine=ruins.machine_id("alpha"), json=False,
    )  # fmt: skip
    assert said.code == 20, said
    assert "root" in said.err
    assert not list((tmp_path / "out").rglob("file-*"))


@pytest.mark.defence
def test_pack_under_another_packs_name_is_refused(ruins: Ruins, tmp_path: Path):
    packs = sorted(ruins.store.rglob("*.pack"), key=lambda path: path.stat().st_size)
    small, large = packs[0], packs[-1]
    large.unlink()
    shutil.copy(small, large)
    said = ruins.with_kit("restore", ruins.ids["beta", 1], "--target", tmp_path / "out", machine="beta")
    both = [said, ruins.with_kit("restore", ruins.ids["alpha", 2], "--target", tmp_path / "out-2")]
    assert 20 in {each.code for each in both}
    assert any(f"{large.name} is not used" in each.err for each in both), both


@pytest.mark.defence
def test_record_of_another_machine_vouches_for_no_statement(ruins: Ruins, tmp_path: Path):
    alpha, beta = (next(ruins.store.rglob(f"{ruins.machine_id(name)}.record")) for name in ("alpha", "beta"))
    alpha.unlink()
    shutil.copy(beta, alpha)
    said = ruins.with_kit(
        "restore", "latest", "--target", tmp_path / "out", machine=ruins.machine_id("alpha"), json=False
    )
    assert said.code == 20, said
    assert "another machine" in said.err
    assert not list((tmp_path / "out").rglob("*"))


@pytest.mark.defence
def test_listing_that_fails_is_not_an_empty_store(ruins: Ruins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import os

    real = os.scandir

    def failing(path):
        if str(path).endswith("statements") or "/statements/" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr("agents.from_target.directory.os.scandir", failing)
    said = ruins.with_kit("snapshots", machine=ruins.machine_id("alpha"), json=False)
    assert said.code == 5, said
    assert "permission denied" in said.err


def test_pack_without_its_trailer_is_read_record_by_record(ruins: Ruins, tmp_path: Path):
    for pack in ruins.store.rglob("*.pack"):
        pack.chmod(0o600)
        with pack.open("r+b") as file:
            file.truncate(pack.stat().st_size - 56)
    said = ruins.with_kit("restore", "latest", "--target", tmp_path / "out")
    assert said.code == 0, said
    assert "no readable index" in said.err
    assert ruins.restored(tmp_path / "out", "alpha") == ruins.was["alpha", 2]


def test_rotten_chunk_costs_its_files_alone(ruins: Ruins, tmp_path: Path):
    for pack in ruins.store.rglob("*.pack"):
        flip(pack, pack.stat().st_size // 2)
    said = ruins.with_kit("restore", ruins.ids["alpha", 1], "--target", tmp_path / "out")
    assert said.code == 20, said
    came, was = ruins.restored(tmp_path / "out", "alpha"), ruins.was["alpha", 1]
    assert said.summary["damaged"] > 0
    content = {path: facts for path, facts in came.items() if len(facts) > 5}
    assert content
    assert all(was[path] == facts for path, facts in content.items())


def test_damaged_statement_is_damage(ruins: Ruins):
    the_file = the_statement(ruins, "alpha", 2)
    flip(the_file, 70)
    said = ruins.with_kit("snapshots", machine=ruins.machine_id("alpha"), json=False)
    assert said.code == 20, said


def test_statement_of_a_commit_that_was_refused_late_is_passed_over(ruins: Ruins, tmp_path: Path):
    """A store may hold two statements of one number: the chain says which one counts."""
    from dataclasses import replace

    from agents.keys.rsa import load_private
    from protocol.stored.statements import decode_statement

    right = the_statement(ruins, "alpha", 1)
    agent = ruins.agent("alpha")
    identity = load_private((agent.home / "identity.pem").read_bytes())
    stray = replace(decode_statement(right.read_bytes()), time=2**50, signature=b"")
    stray = stray.with_signature(identity.sign(stray.signed_bytes()))
    (right.parent / f"{1:020}-{stray.snapshot_id.hex()}.statement").write_bytes(stray.encode())
    said = ruins.with_kit("snapshots")
    assert said.code == 0, said
    assert [record["id"] for record in said.records[:-1]] == [ruins.ids["alpha", n] for n in (2, 1)]


def test_bucket_without_the_extra_package_is_said_plainly(ruins: Ruins, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    nobody = Agent(ruins.place / "nobody")
    said = nobody.run("snapshots", "--from-target", "s3://bucket/x", "--kit", ruins.kit)
    assert said.code == 2
    assert "'.[s3]'" in said.err


def test_objects_that_stand_in_for_damaged_ones_are_read(ruins: Ruins, tmp_path: Path):
    spoil_and_heal(ruins)
    said = ruins.with_kit("restore", "latest", "--target", tmp_path / "out")
    assert said.code == 0, said
    assert ruins.restored(tmp_path / "out", "alpha") == ruins.was["alpha", 2]


@pytest.fixture
def bucket(ruins: Ruins, s3_server, monkeypatch: pytest.MonkeyPatch) -> str:
    """The store's files in a bucket, and its credentials in the environment."""
    name = s3_server.make_bucket()
    client = s3_server.client()
    for path in ruins.store.rglob("*"):
        if path.is_file():
            key = f"far/away/{path.relative_to(ruins.store)}"
            client.put_object(Bucket=name, Key=key, Body=path.read_bytes())
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.url)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
    return f"s3://{name}/far/away"


def test_bucket_restores_equal_too(ruins: Ruins, bucket: str, tmp_path: Path):
    kit = ("--from-target", bucket, "--kit", ruins.kit)
    listed = ruins.agent("nobody").json("snapshots", *kit)
    assert listed.code == 0, listed
    assert {record["id"] for record in listed.records[:-1]} == set(ruins.ids.values())
    said = ruins.agent("nobody").json("restore", "latest", *kit, "--machine", "alpha", "--target", tmp_path / "out")
    assert said.code == 0, said
    assert ruins.restored(tmp_path / "out", "alpha") == ruins.was["alpha", 2]


@pytest.mark.defence
def test_bucket_that_refuses_or_is_gone_is_not_empty(ruins: Ruins, bucket: str, monkeypatch: pytest.MonkeyPatch):
    kit = ("--kit", ruins.kit)
    gone = ruins.agent("nobody").run("snapshots", "--from-target", "s3://there-is-no-such-bucket", *kit)
    assert gone.code == 5, gone
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    refused = ruins.agent("nobody").run("snapshots", "--from-target", bucket, *kit)
    assert refused.code == 5, refused
    assert "AWS_SECRET_ACCESS_KEY" in refused.err
