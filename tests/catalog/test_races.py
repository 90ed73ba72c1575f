"""Two at once: commits, workers, takeovers. With real connections, each in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from backup_platform.catalog import commit, deduplication, present, sessions
from backup_platform.catalog.chunk_index import vault_lock
from backup_platform.catalog.errors import Busy, Fenced, RecordUnavailable
from backup_platform.catalog.models import Pack, Session, Snapshot
from backup_platform.catalog.verification import verify_pack
from backup_platform.jobs import services
from backup_platform.tenants.scope import tenant_scope
from backup_platform.vaults.models import Vault
from tests.catalog.stage import Backup, contents, digest, make_machine, make_vault, run_jobs, state_of


@pytest.fixture
def vault(transactional_db, strongroom_home, monkeypatch) -> Iterator[Vault]:
    monkeypatch.setattr(services, "send", lambda *_: None)
    vault = make_vault("north", 7003)
    with tenant_scope(vault.tenant_id):
        yield vault


def at_once(vault: Vault, *calls: Callable[[], Any]) -> list[Any]:
    """Run the calls in threads that start together; each answer or exception in order."""
    start, answers = threading.Barrier(len(calls)), [None] * len(calls)

    def run(number: int, call: Callable[[], Any]) -> None:
        start.wait(20)
        with tenant_scope(vault.tenant_id):
            try:
                answers[number] = call()
            except Exception as fault:  # noqa: BLE001
                answers[number] = fault
            finally:
                connection.close()

    threads = [threading.Thread(target=run, args=item) for item in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a deadlock"
    return answers


def test_of_two_begins_at_once_one_is_busy(vault):
    machine = make_machine(vault, "alpha")
    answers = at_once(vault, *[lambda: sessions.begin_session(machine, "spool-1")] * 4)
    assert len([a for a in answers if isinstance(a, sessions.Begun)]) == 1
    assert len([a for a in answers if isinstance(a, Busy)]) == 3
    assert Session.objects.count() == 1


def test_the_same_commit_twice_at_once_is_one_snapshot_and_one_answer(vault):
    backup = Backup(make_machine(vault, "alpha"))
    data = contents(3)
    begun = backup.begin()
    backup.send(data)
    proposed = backup.propose(data)
    answers = at_once(vault, *[lambda: proposed.send(backup.machine, begun)] * 3)
    assert len(set(answers)) == 1
    assert isinstance(answers[0], commit.Committed)
    assert Snapshot.objects.count() == 1


def test_of_two_different_commits_of_a_session_one_is_published(vault):
    backup = Backup(make_machine(vault, "alpha"))
    data = contents(3)
    begun = backup.begin()
    backup.send(data)
    one, two = backup.propose(data), backup.propose(data)
    answers = at_once(vault, lambda: one.send(backup.machine, begun), lambda: two.send(backup.machine, begun))
    assert sorted(type(answer) in (commit.Committed,) for answer in answers) == [False, True]
    assert isinstance(next(a for a in answers if not isinstance(a, commit.Committed)), Fenced)
    assert Snapshot.objects.count() == 1


def test_a_takeover_against_a_flush_lets_nothing_of_the_old_connection_in_afterwards(vault):
    backup = Backup(make_machine(vault, "alpha"))
    old = backup.begin()
    Session.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    data = contents(2)
    late = Backup(backup.machine, begun=old)
    answers = at_once(vault, lambda: late.send(data), lambda: sessions.begin_session(backup.machine, "spool-2"))
    flushed, begun = answers
    session = Session.objects.get()
    if isinstance(begun, sessions.Begun):
        assert session.fence == old.fence + 1
        with pytest.raises(Fenced):
            late.send_records([(1, b"later still")])
    else:
        assert isinstance(begun, Busy)
        assert isinstance(flushed, Pack)


def test_two_workers_deduplicate_two_packs_of_the_same_chunks(vault):
    data = contents(30)
    packs = []
    for name in ("alpha", "beta"):
        backup = Backup(make_machine(vault, name))
        backup.begin()
        packs.append(backup.send_records([(1, content) for content in data]))
    for pack in packs:
        verify_pack(pack.pk)
    calls = [lambda pack=pack: deduplication.deduplicate_pack(pack.pk) for pack in packs * 2]
    for answer in at_once(vault, *calls):
        assert answer is None or isinstance(answer, (deduplication.Deduplicated, RecordUnavailable)), answer
    for pack in packs:
        deduplication.deduplicate_pack(pack.pk)  # what met the other's lease is repeated
    assert Vault.objects.get().next_number == 30
    assert set(Pack.objects.values_list("place", flat=True)) == {"target"}
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*), count(DISTINCT number) FROM catalog_chunk")
        assert cursor.fetchone() == (30, 30)
        cursor.execute("SELECT count(*) FROM catalog_spare")
        assert cursor.fetchone() == (30,)
    assert present.missing_ids(vault.number, [digest(content) for content in data]) == set()


def test_no_question_sees_an_id_absent_while_it_moves_into_the_index(vault):
    backup = Backup(make_machine(vault, "alpha"))
    data = contents(50)
    backup.begin()
    pack = backup.send_records([(1, content) for content in data])
    verify_pack(pack.pk)
    ids, absent, done = [digest(content) for content in data], [], threading.Event()

    def ask() -> None:
        while not done.is_set():
            absent.extend(present.missing_ids(vault.number, ids))

    def move() -> None:
        try:
            deduplication.deduplicate_pack(pack.pk)
        finally:
            done.set()

    assert at_once(vault, ask, move) == [None, None]
    assert absent == []


def test_a_commit_waits_for_whoever_takes_presence_away(vault):
    backup = Backup(make_machine(vault, "alpha"))
    data = contents(2)
    begun = backup.begin()
    backup.send(data)
    proposed = backup.propose(data)
    entered, answers = threading.Event(), []

    def commit_now() -> None:
        with tenant_scope(vault.tenant_id):
            entered.set()
            answers.append(proposed.send(backup.machine, begun))
            connection.close()

    thread = threading.Thread(target=commit_now)
    with vault_lock(vault.number, shared=False):
        thread.start()
        entered.wait(10)
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM catalog_arrival WHERE id = %s", [digest(data[0])])
        thread.join(0.5)
        assert answers == []
    thread.join(30)
    assert answers == [commit.MissingIds([digest(data[0])])]


def test_snapshots_of_many_machines_end_verified_whatever_the_order(vault):
    shared = contents(5)
    backups = [Backup(make_machine(vault, name)) for name in ("alpha", "beta", "gamma")]
    answers = at_once(vault, *[lambda backup=backup: backup.run(shared, contents(3)) for backup in backups])
    assert all(isinstance(answer, commit.Committed) for answer in answers), answers
    run_jobs()
    assert {state_of(answer) for answer in answers} == {"verified"}
