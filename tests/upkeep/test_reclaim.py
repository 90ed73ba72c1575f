"""Reclaim: what goes, what stays, and for whom it waits (law 3)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from backup_platform.audit.models import Entry
from backup_platform.catalog import commit, present, sessions, stores
from backup_platform.catalog.models import (
    Pack,
    PackPlace,
    Publication,
    Session,
    SessionState,
    Snapshot,
    SnapshotState,
)
from backup_platform.jobs.models import Job
from backup_platform.jobs.running import run_job
from backup_platform.notifications.models import Alert
from backup_platform.retention.holds import set_hold
from backup_platform.retention.services import bring_back
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from backup_platform.upkeep import jobs as upkeep_jobs
from backup_platform.upkeep.condemning import condemn
from backup_platform.upkeep.marking import Union
from backup_platform.upkeep.models import ReclaimRound, RoundState
from backup_platform.upkeep.reclaiming import unfinished_round
from backup_platform.upkeep.reports import preview
from backup_platform.upkeep.services import pause_reclaim, resume_reclaim
from backup_platform.upkeep.turns import Turn
from backup_platform.vaults.models import Vault
from tests.catalog.stage import (
    BLOCK,
    CHUNK,
    Backup,
    block_of,
    contents,
    digest,
    make_machine,
    make_vault,
    overwrite,
    pack_path,
)
from tests.upkeep.reclaim_stage import (
    files,
    ids_of,
    indexed,
    is_state,
    let_expire,
    live_packs,
    numbers,
    read_back,
    round_of,
    run_jobs,
    run_round,
)


@pytest.fixture
def vault(db, strongroom_home) -> Iterator[Vault]:
    vault = make_vault("north", 7101)
    with tenant_scope(vault.tenant_id):
        yield vault


@pytest.fixture
def backup(vault: Vault) -> Backup:
    return Backup(make_machine(vault, "alpha"))


@pytest.fixture
def other(vault: Vault) -> Backup:
    return Backup(make_machine(vault, "beta"))


def expired_and_kept(backup: Backup) -> tuple[list[bytes], list[bytes], list[bytes]]:
    """A snapshot that has expired and one that stays: what only the first needs, what both do, what the second does."""
    old, both, new = contents(3), contents(3), contents(3)
    first = backup.run(old, both)
    backup.run(both, new)
    run_jobs()
    let_expire(first)
    return old, both, new


# --- what goes and what stays ------------------------------------------------------------------------------------


def test_what_only_an_expired_snapshot_needed_goes_and_the_rest_stays(vault, backup):
    old, both, new = expired_and_kept(backup)
    done = round_of(run_round(vault))
    assert (done.state, done.retired, done.condemned, done.removed) == (RoundState.DONE, 1, 4, 4)
    assert set(indexed(vault)) == ids_of(both, new)
    read_back(vault, both, new)
    assert present.missing_ids(vault.number, list(ids_of(old))) == ids_of(old)


def test_a_pack_that_nothing_names_any_more_goes_with_its_file_after_the_grace(vault, backup):
    first = backup.run(contents(3))
    kept = contents(3)
    backup.run(kept)
    run_jobs()
    let_expire(first)
    assert len(files(vault)) == 2
    run_round(vault, grace=timedelta(hours=1))
    assert len(files(vault)) == 2  # its grace is not over
    leaving = Pack.objects.get(unlink_at__isnull=False)
    Pack.objects.filter(pk=leaving.pk).update(unlink_at=timezone.now() - timedelta(seconds=1))
    outcome = run_round(vault, begin=False)
    assert (outcome.unlinked_packs, outcome.unlinked_bytes) == (1, leaving.bytes)
    assert len(files(vault)) == 1
    leaving.refresh_from_db()
    assert (leaving.place, leaving.unlink_at) == (PackPlace.GONE, None)
    read_back(vault, kept)


def test_a_round_without_anything_to_do_changes_nothing(vault, backup):
    data = contents(3)
    backup.run(data)
    run_jobs()
    done = round_of(run_round(vault))
    assert (done.state, done.condemned, done.removed, done.packs) == (RoundState.DONE, 0, 0, 0)
    assert Vault.objects.get().generation == vault.generation
    read_back(vault, data)


def test_numbers_are_never_used_again(vault, backup):
    expired_and_kept(backup)
    highest = max(numbers(vault).values())
    run_round(vault)
    backup.run(contents(2))
    run_jobs()
    assert max(numbers(vault).values()) > highest


def test_condemning_raises_the_generation_so_that_caches_are_asked_about(vault, backup):
    expired_and_kept(backup)
    before = Vault.objects.get().generation
    run_round(vault)
    assert Vault.objects.get().generation > before


def test_what_came_with_a_backup_that_was_given_up_goes(vault, backup, other):
    kept = contents(2)
    other.run(kept)
    backup.begin()
    backup.send(contents(3))
    sessions.end_session(backup.begun.session, backup.begun.fence)
    run_jobs()
    assert round_of(run_round(vault)).removed == 4
    read_back(vault, kept)


def test_a_spare_goes_with_its_pack_when_the_index_has_a_good_one(vault, backup, other):
    data = contents(3)
    for one in (backup, other):
        one.begin()
        one.send_records([(CHUNK, content) for content in data])
    for one in (backup, other):
        one.send(data)
        assert isinstance(one.propose(data).send(one.machine, one.begun), commit.Committed)
    run_jobs()
    assert len(files(vault)) == 3  # one pack of spares, and one that holds the block
    done = round_of(run_round(vault))
    assert done.packs == 1
    assert len(live_packs(vault)) == 2
    read_back(vault, data)


def test_a_spare_stays_while_the_index_points_at_a_damaged_pack(vault, backup, other):
    data = contents(2)
    for one in (backup, other):
        one.begin()
        one.send_records([(CHUNK, content) for content in data])
        one.send(data)
        one.propose(data).send(one.machine, one.begun)
    run_jobs()
    first = Pack.objects.order_by("pk").first()
    Pack.objects.filter(pk=first.pk).update(state="damaged")
    assert round_of(run_round(vault)).packs == 0


# --- who is waited for -------------------------------------------------------------------------------------------


def test_what_an_open_session_was_told_is_there_is_not_removed_before_it_ends(vault, backup, other):
    old, _, _ = expired_and_kept(backup)
    other.begin()
    assert present.missing_ids(vault.number, [digest(c) for c in old]) == set()  # a dedup hit
    waiting = run_round(vault)
    assert round_of(waiting).state == RoundState.CONDEMNED
    assert "beta" in waiting.waits_for
    assert round_of(run_round(vault)).removed == 0
    sessions.end_session(other.begun.session, other.begun.fence)
    assert round_of(run_round(vault)).removed == 4


def test_an_abandoned_session_is_waited_for_no_longer(vault, backup, other):
    expired_and_kept(backup)
    other.begin()
    run_round(vault)
    Session.objects.filter(pk=other.begun.session).update(last_seen_at=timezone.now() - timedelta(days=15))
    sessions.abandon_idle_sessions()
    assert round_of(run_round(vault)).state == RoundState.DONE


def test_a_session_that_began_after_the_condemnation_is_not_waited_for(vault, backup, other):
    old, _, _ = expired_and_kept(backup)
    other.begin()
    run_round(vault)
    sessions.end_session(other.begun.session, other.begun.fence)
    other.begin()
    assert present.missing_ids(vault.number, [digest(c) for c in old]) == {digest(c) for c in old}
    assert round_of(run_round(vault)).state == RoundState.DONE


def test_a_commit_revives_what_it_needs_and_never_asked_about(vault, backup, other):
    old, _, _ = expired_and_kept(backup)
    other.begin()
    run_round(vault)  # condemned now
    answer = other.propose(old).send(other.machine, other.begun)
    assert isinstance(answer, commit.Committed)
    done = round_of(run_round(vault))
    assert done.state == RoundState.CONDEMNED  # its needs are not looked up yet
    run_jobs()
    assert is_state(answer, SnapshotState.VERIFIED)
    assert round_of(run_round(vault)).removed == 0
    read_back(vault, old)


def test_a_commit_after_the_removal_is_told_what_is_missing(vault, backup, other):
    old, _, _ = expired_and_kept(backup)
    run_round(vault)
    other.begin()
    answer = other.propose(old).send(other.machine, other.begun)
    assert isinstance(answer, commit.MissingIds)


def test_a_session_is_open_until_its_snapshots_bitmap_is_stored(vault, backup, other):
    old, _, _ = expired_and_kept(backup)
    other.begin()
    answer = other.propose(old).send(other.machine, other.begun)
    assert isinstance(answer, commit.Committed)
    session = Session.objects.get(pk=other.begun.session)
    assert session.state == SessionState.COMMITTED
    for _ in range(2):  # no worker looks at the snapshot meanwhile
        assert round_of(run_round(vault)).state == RoundState.CONDEMNED
    run_jobs()
    session.refresh_from_db()
    assert session.state == SessionState.ENDED
    assert present.missing_ids(vault.number, list(ids_of(old))) == set()  # completion has revived them
    assert round_of(run_round(vault)).removed == 0
    assert is_state(answer, SnapshotState.VERIFIED)
    read_back(vault, old)


def test_a_snapshot_of_unknown_needs_that_no_session_holds_is_waited_for_too(vault, backup, other):
    old, _, _ = expired_and_kept(backup)
    answer = other.run(old)
    Session.objects.filter(pk=other.begun.session).update(state=SessionState.ENDED)
    assert round_of(run_round(vault)).state == RoundState.CONDEMNED
    assert round_of(run_round(vault)).state == RoundState.CONDEMNED
    run_jobs()
    assert round_of(run_round(vault)).state == RoundState.DONE
    assert is_state(answer, SnapshotState.VERIFIED)


def test_a_bitmap_that_is_stored_while_a_round_marks_is_not_overlooked(vault, backup, other):
    old, _, _ = expired_and_kept(backup)
    other.run(old)
    vault.refresh_from_db()
    round_ = ReclaimRound.objects.create(tenant_id=vault.tenant_id, vault=vault, number=1, end=vault.next_number)
    Snapshot.objects.filter(state=SnapshotState.EXPIRED).update(state=SnapshotState.RECLAIMED)
    union = Union(vault)
    union.catch_up()
    run_jobs()  # the new snapshot's needs come to be known, and its session ends
    condemn(round_, vault, union, Turn())
    assert set(indexed(vault).values()) == {0}


def test_the_union_is_computed_again_before_anything_is_removed(vault, backup, other):
    old, _, _ = expired_and_kept(backup)
    other.begin()
    run_round(vault)
    # Somebody's needs come to be known without a commit that revived them: a rebuilt catalogue does that.
    bitmap = Snapshot.objects.filter(state=SnapshotState.VERIFIED).values_list("bitmap", "cardinality").get()
    _give_needs_of_old(vault, old)
    sessions.end_session(other.begun.session, other.begun.fence)
    done = round_of(run_round(vault))
    assert done.revived >= 3
    assert bitmap
    read_back(vault, old)


def _give_needs_of_old(vault: Vault, old: list[bytes]) -> None:
    from pyroaring import BitMap64

    kept = Snapshot.objects.get(state=SnapshotState.VERIFIED)
    mine = numbers(vault)
    needs = BitMap64.deserialize(bytes(kept.bitmap)) | BitMap64([mine[i] for i in ids_of(old)])
    Snapshot.objects.filter(pk=kept.pk).update(bitmap=needs.serialize(), cardinality=len(needs))


def test_what_arrives_again_is_revived_and_its_second_copy_is_kept(vault, backup, other):
    old, _, _ = expired_and_kept(backup)
    other.begin()
    run_round(vault)
    third = Backup(make_machine(vault, "gamma"))
    third.begin()
    third.send(old)  # told that they are missing, it sends them
    sessions.end_session(other.begun.session, other.begun.fence)
    done = round_of(run_round(vault))  # before any worker has looked at the new pack
    assert (done.state, done.removed, done.revived) == (RoundState.DONE, 0, 4)
    assert isinstance(third.propose(old).send(third.machine, third.begun), commit.Committed)
    run_jobs()
    read_back(vault, old)


def test_what_a_long_first_backup_has_sent_is_not_asked_for_again(vault, backup, other):
    other.run(contents(1))
    backup.begin()
    data = contents(4)
    backup.send(data)
    run_jobs()
    assert round_of(run_round(vault)).condemned == 0
    assert present.missing_ids(vault.number, [digest(c) for c in data]) == set()


# --- snapshots ---------------------------------------------------------------------------------------------------


def test_an_expired_snapshot_counts_until_it_cannot_be_brought_back(vault, backup):
    old = contents(3)
    first = backup.run(old)
    backup.run(contents(3))
    run_jobs()
    let_expire(first, ago=timedelta(hours=1))
    done = round_of(run_round(vault))
    assert (done.retired, done.condemned) == (0, 0)
    assert bring_back(Snapshot.objects.get(pk=first.snapshot), by="test") == SnapshotState.VERIFIED
    read_back(vault, old)


def test_a_held_snapshot_is_never_reclaimed(vault, backup):
    old, _, _ = expired_and_kept(backup)
    set_hold(vault.tenant, "case 1", "a court asked for it", by="test")
    assert round_of(run_round(vault)).retired == 0
    read_back(vault, old)


def test_the_root_of_a_reclaimed_snapshot_goes_and_its_statement_stays(vault, backup):
    first = backup.run(contents(2))
    backup.run(contents(2))
    run_jobs()
    let_expire(first)
    run_round(vault)
    row = Snapshot.objects.get(pk=first.snapshot)
    assert row.state == SnapshotState.RECLAIMED
    assert row.bitmap is None
    assert row.objects_gone_at is not None
    store, keys = stores.local_target(), (vault.tenant_id, vault.pk, row.pk)
    assert not store.exists(stores.root_key(*keys))
    assert not store.exists(stores.recipients_key(*keys))
    statement = stores.statement_key(*keys[:2], row.machine_id, row.sequence, row.pk)
    assert store.get(statement) == bytes(row.statement)
    assert store.exists(stores.lifecycle_key(*keys, 1))


def test_what_a_refused_commit_has_stored_is_taken_back_once_its_session_is_over(vault, backup, monkeypatch):
    data = contents(2)
    backup.begin()
    pack = backup.send(data)
    proposed = backup.propose(data)
    real = commit.publish

    def publish(*args, **more):
        with connection.cursor() as cursor:  # between the question and the decision
            cursor.execute("DELETE FROM catalog_arrival WHERE pack = %s", [pack.pk])
        return real(*args, **more)

    monkeypatch.setattr(commit, "publish", publish)
    assert isinstance(proposed.send(backup.machine, backup.begun), commit.MissingIds)
    monkeypatch.undo()
    left = Publication.objects.get()
    root = stores.root_key(vault.tenant_id, vault.pk, left.pk)
    assert stores.local_target().exists(root)
    assert run_round(vault, begin=False).taken_back == 0  # its session may still commit
    backup.send_records([(CHUNK, content) for content in data] + [(BLOCK, block_of(data))])
    assert isinstance(backup.propose(data).send(backup.machine, backup.begun), commit.Committed)
    run_jobs()
    assert run_round(vault, begin=False).taken_back == 1
    assert not stores.local_target().exists(root)
    assert not Publication.objects.exists()
    kept = Snapshot.objects.get()
    assert stores.local_target().exists(stores.root_key(vault.tenant_id, vault.pk, kept.pk))


# --- when it does not act ----------------------------------------------------------------------------------------


def stopped(vault: Vault) -> ReclaimRound:
    before = indexed(vault)
    done = round_of(run_round(vault))
    assert done.state == RoundState.STOPPED
    assert indexed(vault) == before
    assert Alert.objects.filter(resolved_at__isnull=True, dedupe_key=f"reclaim:{vault.pk}").count() == 1
    return done


def test_a_bitmap_that_cannot_be_read_stops_the_round(vault, backup):
    expired_and_kept(backup)
    kept = Snapshot.objects.get(state=SnapshotState.VERIFIED)
    Snapshot.objects.filter(pk=kept.pk).update(bitmap=bytes(kept.bitmap)[:-3])
    assert kept.pk.hex[:12] in stopped(vault).fault


def test_a_bitmap_that_is_shorter_than_it_should_be_stops_the_round(vault, backup):
    from pyroaring import BitMap64

    expired_and_kept(backup)
    Snapshot.objects.filter(state=SnapshotState.VERIFIED).update(bitmap=BitMap64().serialize())
    assert "damaged in the database" in stopped(vault).fault


def test_a_damaged_snapshot_whose_needs_are_not_known_stops_the_round(vault, backup, other):
    expired_and_kept(backup)
    data = contents(2)
    other.begin()
    pack = other.send(data)
    other.propose(data).send(other.machine, other.begun)
    path = pack_path(pack)
    overwrite(path, path.read_bytes().index(block_of(data)) + 3, b"\xff\xff\xff")
    run_jobs()
    assert Snapshot.objects.filter(state=SnapshotState.DAMAGED, bitmap__isnull=True).count() == 1
    assert "not known" in stopped(vault).fault


def test_a_damaged_snapshot_whose_needs_are_all_known_holds_what_is_left_of_them(vault, backup, other):
    old, _, _ = expired_and_kept(backup)
    answer = other.run(old)
    spoilt = Pack.objects.get(records=8)
    path = pack_path(spoilt)
    overwrite(path, path.read_bytes().index(old[0]) + 3, b"\xff\xff\xff")
    from backup_platform.catalog.verification import examine_pack, tell_damage

    tell_damage(spoilt, examine_pack(spoilt))
    run_jobs()
    row = Snapshot.objects.get(pk=answer.snapshot)
    assert (row.state, row.bitmap is None) == (SnapshotState.DAMAGED, False)
    assert Session.objects.get(pk=other.begun.session).state == SessionState.ENDED
    assert round_of(run_round(vault)).state == RoundState.DONE
    assert ids_of(old) <= set(indexed(vault))


def test_a_damaged_chunk_that_nothing_needs_goes_and_is_wanted_no_more(vault, backup):
    from backup_platform.catalog.damage import report_damage, rows_of_pack

    expired_and_kept(backup)
    pack = Pack.objects.order_by("pk").first()
    report_damage(pack, [(record_id, place.offset) for record_id, place in rows_of_pack(pack)][:1], "rot")
    run_jobs()
    assert 2 in indexed(vault).values()
    if Snapshot.objects.filter(state=SnapshotState.DAMAGED).exists():
        pytest.skip("the damage met a snapshot that counts")  # the first record of a pack is the expired one's
    assert round_of(run_round(vault)).state == RoundState.DONE
    assert 2 not in indexed(vault).values()


def test_vanished_snapshots_stop_the_round_until_somebody_accepts_it(vault, backup, other):
    other.run(contents(2))
    _, both, new = expired_and_kept(backup)
    run_round(vault)
    Snapshot.objects.filter(machine=other.machine).delete()
    assert "vanished" in stopped(vault).fault
    done = round_of(run_round(vault, accepted_by="somebody"))
    assert done.state == RoundState.DONE
    assert not Alert.objects.filter(resolved_at__isnull=True, dedupe_key=f"reclaim:{vault.pk}").exists()
    with without_tenant_scope("test"):
        assert Entry.objects.filter(verb="reclaim.loss_accepted", actor="somebody").count() == 1
    read_back(vault, both, new)


def test_nearly_all_snapshots_at_once_stop_the_round(vault, backup, monkeypatch):
    monkeypatch.setattr("backup_platform.upkeep.guards.FEW", 2)
    committed = [backup.run(contents(1)) for _ in range(4)]
    run_jobs()
    let_expire(*committed)
    assert "more than nine tenths" in stopped(vault).fault
    assert Snapshot.objects.filter(state=SnapshotState.EXPIRED).count() == 4


def test_a_vault_with_data_and_no_snapshot_at_all_is_left_alone(vault, backup):
    backup.begin()
    backup.send(contents(2))
    sessions.end_session(backup.begun.session, backup.begun.fence)
    run_jobs()
    assert "no snapshot at all" in stopped(vault).fault


@pytest.mark.parametrize("whole", [True, False])
def test_a_pause_holds_back_everything(vault, backup, whole):
    expired_and_kept(backup)
    whose = None if whole else vault.tenant_id
    assert pause_reclaim(whose, by="ann", reason="we are rebuilding", staff=whole)
    before = indexed(vault)
    outcome = run_round(vault)
    assert outcome.round is None
    said = "the platform's staff" if whole else "we are rebuilding"  # a tenant is not told what staff wrote
    assert said in outcome.waits_for
    assert indexed(vault) == before
    assert resume_reclaim(whose, by="ann")
    assert round_of(run_round(vault)).state == RoundState.DONE


def test_a_pause_in_the_middle_of_a_round_ends_the_turn(vault, backup, other):
    expired_and_kept(backup)
    other.begin()
    run_round(vault)
    sessions.end_session(other.begun.session, other.begun.fence)
    pause_reclaim(vault.tenant_id, by="ann")
    run_round(vault)
    assert unfinished_round(vault).state == RoundState.CONDEMNED


def test_a_dry_run_says_what_would_go_and_changes_nothing(vault, backup):
    expired_and_kept(backup)
    before = indexed(vault)
    vault.refresh_from_db()
    report = preview(vault)
    assert (report.snapshots, report.retiring, report.chunks) == (1, 1, 4)
    assert indexed(vault) == before
    assert not ReclaimRound.objects.exists()
    assert round_of(run_round(vault)).condemned == report.chunks


# --- turns and jobs ----------------------------------------------------------------------------------------------


def test_a_turn_that_is_over_is_gone_on_with_later(vault, backup, monkeypatch):
    monkeypatch.setattr("backup_platform.upkeep.chunk_numbers.SPAN", 3)
    monkeypatch.setattr("backup_platform.upkeep.chunk_numbers.BATCH", 1)
    _, both, new = expired_and_kept(backup)
    from backup_platform.upkeep.errors import TurnOver

    class Short(Turn):
        left = 6

        def check(self) -> None:
            self.left -= 1
            if self.left < 0:
                raise TurnOver

    from backup_platform.upkeep.reclaiming import reclaim_vault

    for _ in range(60):
        outcome = reclaim_vault(vault, Short(), begin=not ReclaimRound.objects.exists(), grace=timedelta(0))
        if ReclaimRound.objects.filter(state=RoundState.DONE).exists():
            break
    done = round_of(outcome)
    assert (done.state, done.removed, done.condemned) == (RoundState.DONE, 4, 4)
    read_back(vault, both, new)


def test_the_tick_asks_and_the_job_does_it(vault, backup):
    _, both, new = expired_and_kept(backup)
    assert upkeep_jobs.ask_due() == 1
    assert upkeep_jobs.ask_due() == 1  # asking twice is asking once
    job = Job.objects.get(kind="reclaim")
    assert run_job(job.pk, upkeep_jobs.reclaim)
    job.refresh_from_db()
    assert job.state == "done"
    assert job.progress["round"]["removed"] == 4
    compacting = Job.objects.get(kind="compact")
    assert run_job(compacting.pk, upkeep_jobs.compact)
    assert upkeep_jobs.ask_due() == 0  # nothing is due before tomorrow
    read_back(vault, both, new)


def test_each_step_is_in_the_audit(vault, backup):
    expired_and_kept(backup)
    run_round(vault)
    with without_tenant_scope("test"):
        verbs = set(Entry.objects.filter(actor="reclaim").values_list("verb", flat=True))
    assert {"snapshot.reclaimed", "reclaim.condemned", "reclaim.removed"} <= verbs
