"""Reclaim against everybody else, with real connections: commits, begins, deduplication, restores."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import ClassVar

import pytest
from django.db import connection

from backup_platform.catalog import commit, deduplication, needs, present, sessions
from backup_platform.catalog.chunk_index import vault_lock
from backup_platform.catalog.models import Session, Snapshot, SnapshotState
from backup_platform.catalog.reading import PackReader
from backup_platform.catalog.verification import verify_pack
from backup_platform.jobs import services
from backup_platform.tenants.scope import tenant_scope
from backup_platform.upkeep.models import RoundState
from backup_platform.upkeep.reclaiming import reclaim_vault, unfinished_round
from backup_platform.upkeep.turns import Turn
from backup_platform.vaults.models import Vault
from tests.catalog.stage import Backup, contents, digest, make_machine, make_vault, state_of
from tests.catalog.test_races import at_once
from tests.upkeep.reclaim_stage import compact, ids_of, indexed, let_expire, read_back, round_of, run_jobs, run_round


@pytest.fixture
def vault(transactional_db, strongroom_home, monkeypatch) -> Iterator[Vault]:
    monkeypatch.setattr(services, "send", lambda *_: None)
    vault = make_vault("north", 7103)
    with tenant_scope(vault.tenant_id):
        yield vault
    while Beside.begun:  # a test that failed in the middle leaves nobody behind in the database
        Beside.begun.pop().end()


@pytest.fixture
def backup(vault: Vault) -> Backup:
    return Backup(make_machine(vault, "alpha"))


@pytest.fixture
def other(vault: Vault) -> Backup:
    return Backup(make_machine(vault, "beta"))


def expired(backup: Backup, count: int = 20) -> list[bytes]:
    """What a snapshot needed that has expired, beside one that stays."""
    old = contents(count)
    first = backup.run(old)
    backup.run(contents(2))
    run_jobs()
    let_expire(first)
    return old


class Beside:
    """Work in a thread of its own, under way while the test does something else."""

    begun: ClassVar[list[Beside]] = []

    def __init__(self, vault: Vault, work: Callable[[], object]) -> None:
        self.answer: object = None
        self._vault, self._work = vault, work
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        Beside.begun.append(self)

    def _run(self) -> None:
        with tenant_scope(self._vault.tenant_id):
            try:
                self.answer = self._work()
            except Exception as fault:  # noqa: BLE001
                self.answer = fault
            finally:
                connection.close()

    def is_waiting(self) -> bool:
        """Whether it waits for an advisory lock: the database says so, not a clock."""
        for _ in range(2000):
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
                    " WHERE l.locktype = 'advisory' AND NOT l.granted AND d.datname = current_database()"
                )
                if cursor.fetchone()[0]:
                    return True
            self._thread.join(0.01)
            if not self._thread.is_alive():
                return False
        return False

    def end(self) -> object:
        self._thread.join(60)
        assert not self._thread.is_alive(), "a deadlock"
        return self.answer


def test_a_commit_waits_while_chunks_are_condemned_and_revives_them(vault, backup, other):
    old = expired(backup)
    other.begin()
    proposed = other.propose(old)
    beside = None
    with vault_lock(vault.number, shared=False):
        beside = Beside(vault, lambda: proposed.send(other.machine, other.begun))
        assert beside.is_waiting()
        with connection.cursor() as cursor:
            cursor.execute("UPDATE catalog_chunk SET state = 1 WHERE vault = %s", [vault.number])
    answer = beside.end()
    assert isinstance(answer, commit.Committed)
    run_jobs()
    assert state_of(answer) == "verified"
    assert {state for record_id, state in indexed(vault).items() if record_id in ids_of(old)} == {0}


def test_a_begin_waits_while_chunks_are_condemned_and_is_told_that_they_are_missing(vault, backup, other):
    old = expired(backup)
    with vault_lock(vault.number, shared=False):
        beside = Beside(vault, lambda: sessions.begin_session(other.machine, "spool-1"))
        assert beside.is_waiting()
        assert not Session.objects.filter(machine=other.machine).exists()
        with connection.cursor() as cursor:
            cursor.execute("UPDATE catalog_chunk SET state = 1 WHERE vault = %s", [vault.number])
        Vault.objects.filter(pk=vault.pk).update(generation=99)
    begun = beside.end()
    assert isinstance(begun, sessions.Begun)
    assert begun.generation == 99
    assert present.missing_ids(vault.number, [digest(old[0])]) == {digest(old[0])}


def test_condemnation_waits_for_a_begin_that_is_on_its_way_and_then_for_its_session(vault, backup, other, monkeypatch):
    expired(backup)
    inside, go_on = threading.Event(), threading.Event()
    real = sessions._open

    def slow(*args):
        made = real(*args)
        inside.set()
        assert go_on.wait(30)
        return made

    monkeypatch.setattr(sessions, "_open", slow)
    beginning = Beside(vault, lambda: sessions.begin_session(other.machine, "spool-1"))
    assert inside.wait(30)
    try:
        reclaiming = Beside(vault, lambda: run_round(vault))
        waited = reclaiming.is_waiting()
    finally:
        go_on.set()
    begun = beginning.end()
    assert waited
    outcome = reclaiming.end()
    assert isinstance(begun, sessions.Begun)
    assert begun.session in round_of(outcome).sessions
    assert unfinished_round(vault).state == RoundState.CONDEMNED


def test_commits_beside_a_whole_round_lose_nothing(vault, backup):
    old = expired(backup, 60)
    others = [Backup(make_machine(vault, name)) for name in ("beta", "gamma", "delta")]
    for one in others:
        one.begin()
    calls = [
        lambda one=one, part=part: one.propose(part).send(one.machine, one.begun)
        for one, part in zip(others, (old, old, old), strict=True)
    ]
    answers = at_once(vault, *calls, lambda: run_round(vault))
    committed = [answer for answer in answers[:3] if isinstance(answer, commit.Committed)]
    assert all(isinstance(answer, (commit.Committed, commit.MissingIds)) for answer in answers[:3]), answers
    run_jobs()
    run_round(vault)
    for answer in committed:
        assert state_of(answer) == "verified"
    if committed:
        read_back(vault, old)


def test_two_commits_that_revive_the_same_chunks_do_not_deadlock(vault, backup, monkeypatch):
    old = contents(60)
    first = backup.run(old[:30], old[30:])
    backup.run(contents(2))
    run_jobs()
    let_expire(first)
    others = [Backup(make_machine(vault, name)) for name in ("beta", "gamma")]
    for one in others:
        one.begin()
    run_round(vault)  # condemned: both sessions may count on them
    proposed = [one.propose(old[:30], old[30:]) for one in others]
    together, mine, real = threading.Barrier(2), threading.local(), needs.read_blocks

    def in_some_order(number: int, blocks):
        """Each of the two reads its blocks in another order; both have looked at one before they look at the next."""
        mine.looks = getattr(mine, "looks", 0) + 1
        for place, item in enumerate(sorted(real(number, blocks), reverse=mine.backwards)):
            if place and mine.looks == 2:  # the second look is the one under the lock
                together.wait(30)
            yield item

    monkeypatch.setattr(needs, "read_blocks", in_some_order)

    def send(number: int):
        mine.backwards = bool(number)
        return proposed[number].send(others[number].machine, others[number].begun)

    answers = at_once(vault, lambda: send(0), lambda: send(1))
    assert all(isinstance(answer, commit.Committed) for answer in answers), answers


def test_deduplication_against_removal_keeps_what_arrives_again(vault, backup, other):
    old = expired(backup)
    other.begin()
    run_round(vault)  # condemned
    third = Backup(make_machine(vault, "gamma"))
    third.begin()
    pack = third.send(old)
    verify_pack(pack.pk)
    sessions.end_session(other.begun.session, other.begun.fence)
    answers = at_once(vault, lambda: run_round(vault), lambda: deduplication.deduplicate_pack(pack.pk))
    assert not [answer for answer in answers if isinstance(answer, Exception)], answers
    assert present.missing_ids(vault.number, [digest(content) for content in old]) == set()
    assert isinstance(third.propose(old).send(third.machine, third.begun), commit.Committed)
    run_jobs()
    run_round(vault)
    read_back(vault, old)


def test_a_restore_that_reads_while_packs_are_compacted_and_unlinked_gets_every_byte(vault, backup):
    keep = [contents(6) for _ in range(9)]
    for segment in keep:
        backup.run(segment)
    run_jobs()
    expected = {digest(content): content for segment in keep for content in segment}
    wrong, rounds, stop = [], [], threading.Event()

    def restore() -> int:
        while not stop.is_set() or not rounds:
            for found in PackReader(vault.number).read(list(expected)):
                right = found.record is not None and found.record.sealed == expected[found.id]
                wrong.extend([] if right else [found.id])
            rounds.append(1)
        return len(rounds)

    beside = Beside(vault, restore)
    try:
        assert compact(vault).sources == 9
        run_round(vault)
        run_round(vault, begin=False)
    finally:
        stop.set()
    assert isinstance(beside.end(), int)
    assert wrong == []


def test_two_workers_on_one_vault_are_one_worker(vault, backup):
    expired(backup)
    answers = at_once(vault, *[lambda: reclaim_vault(vault, Turn(), grace=timedelta(0))] * 3)
    assert not [answer for answer in answers if isinstance(answer, Exception)], answers
    run_round(vault)
    assert Snapshot.objects.filter(state=SnapshotState.RECLAIMED).count() == 1
