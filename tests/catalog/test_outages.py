"""Disks that are away, full or failing, and databases that say no: error is not absence, and nothing is forgotten."""

from __future__ import annotations

import errno
import os
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from backup_platform.catalog import commit, damage, deduplication, pack_files, placing, present, stores
from backup_platform.catalog.errors import RecordUnavailable
from backup_platform.catalog.models import Pack
from backup_platform.catalog.scrubbing import scrub_all
from backup_platform.catalog.verification import verify_pack
from backup_platform.catalog.work import ask_again
from backup_platform.jobs import running
from backup_platform.jobs.models import Job
from backup_platform.storage.base import NoSpace, StoreUnavailable
from backup_platform.storage.local import LocalStore, NotAStore
from tests.catalog.stage import (
    CHUNK,
    Backup,
    block_of,
    contents,
    digest,
    make_machine,
    overwrite,
    pack_path,
    run_jobs,
    state_of,
)


@pytest.mark.defence
def test_a_snapshot_is_no_longer_good_when_the_last_copy_turns_out_bad_that_was_only_an_arrival(backup, vault):
    data = contents(3)
    committed = backup.run(data)
    run_jobs()
    indexed = Pack.objects.get()
    other = Backup(make_machine(vault, "beta"))
    other.begin()
    arrived = other.send_records([(CHUNK, data[1])])
    place = dict(damage.rows_of_pack(indexed))[digest(data[1])]
    damage.report_damage(indexed, [(digest(data[1]), place.offset)], "bit rot")
    assert present.missing_ids(vault.number, [digest(data[1])]) == set(), "the other copy counts"
    overwrite(pack_path(arrived), pack_path(arrived).read_bytes().index(data[1]), b"\xff\x00\xff")
    verify_pack(arrived.pk)
    assert present.missing_ids(vault.number, [digest(data[1])]) == {digest(data[1])}
    assert state_of(committed) == "damaged"


@pytest.mark.defence
def test_a_base_that_was_harmed_before_it_was_verified_is_not_believed_by_the_next_commit(backup, vault, machine):
    data, more = contents(3), contents(1)
    backup.run(data)
    pack = Pack.objects.get()
    place = dict(damage.rows_of_pack(pack))[digest(data[0])]
    damage.report_damage(pack, [(digest(data[0]), place.offset)], "bit rot")
    backup.begin()
    backup.send(more)
    answer = backup.propose(data, more).send(machine, backup.begun)
    assert answer == commit.MissingIds([digest(data[0])])
    backup.send(data)
    assert isinstance(backup.propose(data, more).send(machine, backup.begun), commit.Committed)


@pytest.mark.defence
def test_a_spool_whose_disk_is_away_is_never_taken_for_lost_packs(backup, vault):
    data = contents(2)
    committed = backup.run(data)
    spool = stores.home() / "spool"
    spool.rename(spool.with_name("unplugged"))
    spool.mkdir()
    with pytest.raises(RecordUnavailable):
        verify_pack(Pack.objects.get().pk)
    run_jobs()
    assert (Pack.objects.get().state, state_of(committed)) == ("sealed", "received")
    assert present.missing_ids(vault.number, [digest(c) for c in data]) == set()
    spool.rmdir()
    spool.with_name("unplugged").rename(spool)
    Job.objects.update(next_attempt_at=timezone.now())
    run_jobs()
    assert state_of(committed) == "verified"


@pytest.mark.parametrize("number", [errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.ENODEV])
def test_a_disk_that_goes_away_while_it_is_read_is_no_damage(backup, monkeypatch, number):
    backup.run(contents(2))
    pack = Pack.objects.get()

    class Failing:
        def __init__(self, file):
            self.file = file

        def seek(self, *where):
            return self.file.seek(*where)

        def read(self, length):
            raise OSError(number, os.strerror(number))

        def __enter__(self):
            return self

        def __exit__(self, *fault):
            self.file.close()

        def close(self):
            self.file.close()

    real = pack_files._open_plain
    monkeypatch.setattr(pack_files, "_open_plain", lambda path: Failing(real(path)))
    with pytest.raises(RecordUnavailable):
        verify_pack(pack.pk)
    assert Pack.objects.get().state == "sealed"


@pytest.mark.defence
def test_a_store_that_is_away_before_anything_was_placed_is_not_made_anew(backup, vault):
    """Roots lie in it from the first commit on."""
    committed = backup.run(contents(1))
    assert Pack.objects.get().place == "spool"
    (stores.home() / "store").rename(stores.home() / "unplugged")
    with pytest.raises(NotAStore):
        stores.local_target()
    run_jobs()
    assert state_of(committed) == "received"


@pytest.mark.parametrize("fault", [NoSpace("full"), StoreUnavailable("away"), OperationalError("lock timeout")])
def test_an_outage_longer_than_five_attempts_strands_nothing(backup, monkeypatch, fault):
    committed = backup.run(contents(1))
    run = placing.place_pack

    def refuse(pack_id: int) -> bool:
        raise fault

    monkeypatch.setattr(deduplication, "place_pack", refuse)
    monkeypatch.setattr(running, "close_old_connections", lambda: None)  # it would end this test's own transaction
    for _ in range(8):
        Job.objects.filter(state="queued").update(next_attempt_at=timezone.now())
        run_jobs()
    waiting = Job.objects.get(kind="deduplicate")
    assert waiting.state == "queued"
    assert waiting.last_error
    monkeypatch.setattr(deduplication, "place_pack", run)
    Job.objects.filter(state="queued").update(next_attempt_at=timezone.now())
    run_jobs()
    assert Pack.objects.get().place == "target"
    assert state_of(committed) == "verified"
    assert not Job.objects.exclude(state="done").exists()
    assert not Job.objects.exclude(last_error="").exists()


def test_work_whose_job_failed_for_good_is_asked_for_again(backup):
    committed = backup.run(contents(1))
    Job.objects.update(state="failed", finished_at=timezone.now() - timedelta(days=1))
    assert run_jobs() == 0
    assert ask_again() == 2
    assert ask_again() == 2
    assert Job.objects.filter(state="queued").count() == 2
    run_jobs()
    assert state_of(committed) == "verified"
    assert ask_again() == 0


@pytest.mark.defence
def test_a_copy_that_does_not_read_back_is_not_relied_on(backup, monkeypatch):
    data = contents(1)
    backup.run(data)
    pack = Pack.objects.get()
    verify_pack(pack.pk)
    real = LocalStore.adopt

    def copy_badly(store, key, path):
        whole = bytearray(path.read_bytes())
        whole[-100] ^= 1
        store.put(key, bytes(whole))

    monkeypatch.setattr(LocalStore, "adopt", copy_badly)
    with pytest.raises(StoreUnavailable):
        deduplication.deduplicate_pack(pack.pk)
    monkeypatch.setattr(LocalStore, "adopt", real)
    with pytest.raises(StoreUnavailable):
        deduplication.deduplicate_pack(pack.pk)
    assert Pack.objects.get().place == "spool"
    assert pack_path(pack).exists()


def test_a_pack_file_that_is_gone_and_healed_is_no_damage_any_more(backup):
    data = contents(2)
    backup.run(data)
    run_jobs()
    pack_path(Pack.objects.get()).unlink()
    assert [fault.kind for fault in scrub_all().damaged] == ["pack", "snapshot"]
    assert [fault.kind for fault in scrub_all().damaged] == ["pack", "snapshot"], "until it is healed"
    backup.begin()
    backup.send_records([(CHUNK, c) for c in data] + [(2, block_of(data))])
    run_jobs()
    assert scrub_all().damaged == []


def test_deduplication_locks_the_vault_only_against_other_deduplications(vault, machine):
    """What refers to the vault (a new pack) must not wait for a deduplication of the same vault."""
    backup = Backup(machine)
    backup.run(contents(1))
    pack = Pack.objects.get()
    verify_pack(pack.pk)
    with connection.execute_wrapper(_NoteLocks(found := [])):
        deduplication.deduplicate_pack(pack.pk)
    assert any("vaults_vault" in one for one in found)
    assert all("FOR NO KEY UPDATE" in one for one in found if "vaults_vault" in one)


class _NoteLocks:
    def __init__(self, found: list[str]) -> None:
        self.found = found

    def __call__(self, execute, sql, params, many, context):
        if "FOR UPDATE" in sql or "FOR NO KEY" in sql:
            self.found.append(sql)
        return execute(sql, params, many, context)
