"""`manage.py reclaim`: what people and scripts see."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import StringIO

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from backup_platform.catalog import stores
from backup_platform.catalog.models import Snapshot, SnapshotState
from backup_platform.tenants.scope import tenant_scope
from backup_platform.upkeep.models import ReclaimPause, ReclaimRound
from backup_platform.vaults.models import Vault
from tests.catalog.stage import Backup, contents, make_machine, make_vault
from tests.upkeep.reclaim_stage import files, let_expire, read_back, run_jobs


@pytest.fixture
def kept(db, strongroom_home) -> Iterator[tuple[Vault, list[bytes]]]:
    """A vault with a snapshot that has expired, and what the other one needs."""
    vault = make_vault("north", 7104)
    with tenant_scope(vault.tenant_id):
        backup, data = Backup(make_machine(vault, "alpha")), contents(2)
        first = backup.run(contents(3))
        backup.run(data)
        run_jobs()
        let_expire(first)
        yield vault, data


def run(*arguments: str) -> tuple[int, list[str]]:
    """The exit code and what it printed, line by line."""
    out, code = StringIO(), 0
    try:
        call_command("reclaim", *arguments, stdout=out)
    except SystemExit as end:
        code = int(end.code or 0)
    return code, out.getvalue().splitlines()


def objects(*arguments: str) -> tuple[int, list[dict]]:
    code, lines = run(*arguments, "--json")
    return code, [json.loads(line) for line in lines]


def test_a_dry_run_says_what_would_go_and_a_run_does_it(kept):
    vault, data = kept
    code, (line, summary) = objects("--dry-run")
    assert (code, line["message_type"], line["vault"], line["chunks"]) == (0, "vault", "north-vault", 4)
    assert summary == {**summary, "message_type": "summary", "vaults": 1, "exit_code": 0}
    assert not ReclaimRound.objects.exists()
    code, (line, _) = objects("--grace", "0")
    assert (code, line["round"]["state"], line["round"]["removed"]) == (0, "done", 4)
    assert line["unlinked_packs"] == 1
    assert len(files(vault)) == 1
    read_back(vault, data)


def test_people_are_told_in_sentences(kept):
    code, (line,) = run("--dry-run")
    assert (code, "needed by none" in line) == (0, True)
    code, (line,) = run("--tenant", "north")
    assert code == 0
    assert "4 removed" in line


def test_a_round_that_stops_ends_with_one_and_says_why(kept):
    Snapshot.objects.filter(state=SnapshotState.VERIFIED).update(bitmap=b"rubbish")
    code, (line, summary) = objects()
    assert (code, summary["exit_code"], summary["stopped"]) == (1, 1, 1)
    assert "damaged in the database" in line["round"]["fault"]


def test_a_pause_is_set_and_ended(kept):
    assert run("--pause", "--reason", "a move")[1] == ["Reclaim of the whole platform is paused."]
    assert run("--pause")[1] == ["Reclaim of the whole platform was paused before."]
    _, (line, _) = objects()
    assert "a move" in line["waits_for"]
    assert "round" not in line
    assert run("--pause", "--tenant", "north")[1] == ["Reclaim of tenant north is paused."]
    assert run("--resume")[1] == ["Reclaim of the whole platform goes on."]
    assert run("--resume", "--tenant", "north")[1] == ["Reclaim of tenant north goes on."]
    assert run("--resume")[1] == ["Reclaim of the whole platform was not paused."]
    assert not ReclaimPause.objects.exists()


def test_wrong_words_are_refused_with_a_sentence(kept):
    with pytest.raises(CommandError, match="nobody"):
        run("--tenant", "nobody")
    with pytest.raises(CommandError, match="seconds"):
        run("--grace", "-1")


def test_a_home_that_is_away_is_said_and_nothing_is_done(kept):
    root = stores.home() / "store"
    root.rename(root.with_name("unplugged"))
    with pytest.raises(CommandError, match="cannot be used just now"):
        run()
    assert not ReclaimRound.objects.filter(state="done").exists()
