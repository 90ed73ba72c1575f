"""Packs whose only copy lies in cold storage: a restore asks for all of them, says so, and waits. Nothing else asks."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from agents.transport import thawing as waiting
from backup_platform.audit.models import Entry
from backup_platform.catalog import stores
from backup_platform.catalog.models import Copy, CopyState, Pack, PackPlace, Snapshot
from backup_platform.catalog.reading import _rows
from backup_platform.gateway import thawing as answering
from backup_platform.targets.models import Target
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from backup_platform.tiering import thawing
from backup_platform.tiering.cold_page import under_way
from backup_platform.upkeep.scrub_packs import scrub_copy
from tests.cold_s3 import ColdS3, cold_s3
from tests.end_to_end.stage import Agent, World
from tests.tiering.stage import forget_cache, run_all

__all__ = ["cold_s3"]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Enough to make several chunks, and a part of it that is asked for alone."""
    top = tmp_path / "source"
    dice = random.Random(7)
    for folder in ("first", "second"):
        (top / folder).mkdir(parents=True)
        for number in range(3):
            (top / folder / f"{number}").write_bytes(dice.randbytes(400_000))
    return top


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hours become moments, on both sides."""
    monkeypatch.setattr(waiting, "SHORTEST_PAUSE", 0.1)
    monkeypatch.setattr(answering, "LOOK_EVERY", 0.2)
    monkeypatch.setattr(thawing, "LOOK_AGAIN", thawing.LOOK_AGAIN * 0)


class Frozen:
    """A world whose packs have left this host for a bucket, and are cold there."""

    def __init__(self, world: World, source: Path, bucket: ColdS3) -> None:
        self.world, self.source, self.bucket = world, source, bucket
        self.agent: Agent = world.agent()
        self.target = bucket.row()
        self.kept: dict[str, bytes] = {}
        self.back_up(source / "first")
        self.back_up(source)
        self.leave()

    def back_up(self, path: Path) -> None:
        said = self.agent.json("backup", path, "--no-wait")
        assert said.code == 0, said
        run_all()

    def leave(self) -> None:
        with tenant_scope(self.world.vault.tenant_id):
            home = stores.local_target()
            for pack in Pack.objects.filter(place=PackPlace.TARGET):
                key = pack.path
                self.kept[key] = home.get(key)
                self.bucket.client.put_object(Bucket=self.bucket.bucket, Key=key, Body=self.kept[key])
                Copy.objects.create(tenant_id=pack.tenant_id, pack=pack, target=self.target, state=CopyState.GOOD,
                                    key=key, bytes=pack.bytes)  # fmt: skip
                home.delete(key)
            Pack.objects.update(place=PackPlace.REMOTE)
            forget_cache()
        _rows.clear()
        assert len(self.bucket.freeze()) >= 2

    def restore(self, what: str, out: Path, *more: Any):
        return self.agent.json("restore", what, "--target", out, *map(str, more))

    def is_equal(self, out: Path, part: str = "") -> bool:
        return _files(self.source / part, self.source) == _files(out, out / self.source.relative_to("/"))


def _files(under: Path, top: Path) -> dict[Path, bytes]:
    return {path.relative_to(top): path.read_bytes() for path in under.rglob("*") if path.is_file()}


@pytest.fixture
def frozen(world: World, source: Path, cold_s3: ColdS3) -> Frozen:
    return Frozen(world, source, cold_s3)


def test_a_restore_asks_for_all_that_it_needs_says_so_waits_and_is_equal(frozen: Frozen, tmp_path: Path):
    given_up = frozen.restore("latest", tmp_path / "out", "--wait-for-thaw", 0)
    assert given_up.code == 5, given_up
    assert "cold storage" in given_up.err + given_up.out
    assert frozen.bucket.asked() == frozen.bucket.keys(".pack"), "everything was asked for at once"
    with tenant_scope(frozen.world.vault.tenant_id):
        shown = Copy.objects.filter(thaw_asked_at__isnull=False, thawed_at=None)
        assert shown.count() == len(frozen.bucket.keys(".pack"))
        assert {copy.thaw_for for copy in shown} == {"machine alpha"}
    with without_tenant_scope("test"):
        asked = Entry.objects.get(verb="restore.thaw_asked")
    assert asked.actor == "machine alpha"
    assert "being thawed" in under_way(frozen.world.vault.tenant_id)
    snapshot = given_up_of(frozen)

    frozen.bucket.takes(0.5)
    said = frozen.restore("latest", tmp_path / "out", "--resume")
    assert said.code == 0, said
    assert frozen.is_equal(tmp_path / "out")
    with tenant_scope(frozen.world.vault.tenant_id):
        assert not Copy.objects.filter(thawed_at=None).exists()
    assert under_way(frozen.world.vault.tenant_id) == ""
    assert "All that it needs can be read" in said_by_operator("thaw", snapshot, "--tenant", "north")
    with pytest.raises(CommandError, match="Name one snapshot"):
        call_command("thaw", "ffff", "--tenant", "north")


def said_by_operator(*arguments: str) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def given_up_of(frozen: Frozen) -> str:
    """The id of the newest snapshot, the beginning of it."""
    with tenant_scope(frozen.world.vault.tenant_id):
        return Snapshot.objects.latest("sequence").pk.hex[:12]


def test_a_restore_of_a_part_asks_for_that_part_only(frozen: Frozen, tmp_path: Path):
    frozen.bucket.takes(0.5)
    said = frozen.restore(f"latest:{frozen.source}/first", tmp_path / "out")
    assert said.code == 0, said
    assert frozen.is_equal(tmp_path / "out", "first")


@pytest.mark.defence
def test_what_only_looks_asks_for_nothing(frozen: Frozen):
    """Thawing costs money: a drill, a list, a scrub and a second look at a snapshot are no reason for it."""
    listed = frozen.agent.run("ls", "latest")
    assert listed.code == 5, listed
    assert "cold storage" in listed.err
    drilled = frozen.agent.run("drill")
    assert drilled.code == 5, drilled
    with tenant_scope(frozen.world.vault.tenant_id):
        for copy in Copy.objects.all():
            with pytest.raises(Exception, match="cold storage"):
                scrub_copy(copy.pk)
        Snapshot.objects.update(state="received", bitmap=None)
        from backup_platform.catalog.completion import complete_snapshot
        from backup_platform.catalog.errors import RecordCold

        with pytest.raises(RecordCold, match="thaw SNAPSHOT"):
            complete_snapshot(Snapshot.objects.latest("sequence").pk)
        assert {copy.state for copy in Copy.objects.all()} == {CopyState.GOOD}
    assert frozen.bucket.asked() == []


def test_an_agent_that_cannot_ask_hears_that_it_is_not_to_be_had_now(frozen: Frozen, tmp_path: Path, monkeypatch):
    from agents.transport import reading_link

    monkeypatch.setattr(reading_link, "THAWING", "lifecycle")
    said = frozen.restore("latest", tmp_path / "out", "--retry-for", 0)
    assert said.code == 5, said
    assert frozen.bucket.asked() == []


def test_another_target_that_is_warm_spares_the_cold_one(frozen: Frozen, s3_target_row, s3_server, tmp_path: Path):
    warm: Target = s3_target_row()
    with tenant_scope(frozen.world.vault.tenant_id):
        for copy in list(Copy.objects.all()):
            pack = copy.pack
            s3_server.client().put_object(Bucket=warm.bucket, Key=copy.key, Body=frozen.kept[copy.key])
            Copy.objects.create(tenant_id=pack.tenant_id, pack=pack, target=warm, state=CopyState.GOOD, key=copy.key,
                                bytes=pack.bytes)  # fmt: skip
    said = frozen.restore("latest", tmp_path / "out")
    assert said.code == 0, said
    assert frozen.is_equal(tmp_path / "out")
    assert frozen.bucket.asked() == []
