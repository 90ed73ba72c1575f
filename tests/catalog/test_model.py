"""Random orders of everything, against a model of a few lines: who has acknowledged what, and which copies are whole.

Tasks are delivered in any order, twice, or not until the end. Machines are interrupted, records rot, scrubs run.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import ExitStack
from itertools import count

import pytest
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from backup_platform.catalog import commit, deduplication, present, sessions
from backup_platform.catalog.completion import complete_snapshot
from backup_platform.catalog.models import Pack, Session, Snapshot
from backup_platform.catalog.reading import PackReader
from backup_platform.catalog.scrubbing import scrub_all
from backup_platform.catalog.verification import verify_pack
from backup_platform.jobs.models import Job, JobState
from backup_platform.jobs.routes import route_of
from backup_platform.jobs.running import run_job
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from tests.catalog.stage import (
    CHUNK,
    WORK,
    Backup,
    block_of,
    digest,
    make_machine,
    make_vault,
    overwrite,
    pack_path,
    run_jobs,
)

POOL = [bytes([number]) * 400 for number in range(1, 9)]
numbers = count(9_000)
pieces = st.lists(st.sampled_from(POOL), min_size=1, max_size=3, unique=True)


class Catalogue(RuleBasedStateMachine):
    home = None

    def __init__(self) -> None:
        super().__init__()
        number = next(numbers)
        self.stack = ExitStack()
        self.stack.enter_context(transaction.atomic())
        vault = make_vault(f"tenant-{number}", number)
        self.stack.enter_context(tenant_scope(vault.tenant_id))
        self.vault = vault
        self.backups = [Backup(make_machine(vault, name)) for name in ("alpha", "beta")]
        self.copies: defaultdict[bytes, set[int]] = defaultdict(set)  # id -> packs with a whole copy
        self.contents: dict[bytes, bytes] = {}
        self.snapshots: dict[object, list[bytes]] = {}

    def teardown(self) -> None:
        try:
            run_jobs()
            for pk, needed in self.snapshots.items():
                whole = all(self.copies[record_id] for record_id in needed)
                assert Snapshot.objects.get(pk=pk).state == ("verified" if whole else "damaged")
            assert not Job.objects.filter(state="failed").exists()
        finally:
            transaction.set_rollback(True)
            self.stack.close()

    @rule(who=st.integers(0, 1))
    def begin(self, who: int) -> None:
        """A machine begins, or comes back after its connection was lost."""
        old = self.backups[who].begun
        if old is not None:
            sessions.release_session(old.session, old.fence)
        self.backups[who].begin()

    @precondition(lambda self: any(backup.begun for backup in self.backups))
    @rule(who=st.integers(0, 1), contents=pieces, with_block=st.booleans())
    def send(self, who: int, contents: list[bytes], with_block: bool) -> None:
        """Records arrive and are acknowledged, whether they were asked for or not."""
        backup = self.backups[who]
        if not self._is_open(backup):
            return
        records = [(CHUNK, content) for content in contents]
        records += [(2, block_of(contents))] if with_block else []
        pack = backup.send_records(records)
        for _, content in records:
            self.copies[digest(content)].add(pack.pk)
            self.contents[digest(content)] = content

    @rule(who=st.integers(0, 1), contents=pieces)
    def back_up(self, who: int, contents: list[bytes]) -> None:
        """A commit, of which something may be missing."""
        backup = self.backups[who]
        if not self._is_open(backup):
            backup.begin()
        block = block_of(contents)
        needed = [digest(block), *map(digest, contents)]
        base = backup.begun.base
        answer = backup.propose(contents).send(backup.machine, backup.begun)
        lacking = {record_id for record_id in needed if not self.copies[record_id]}
        if isinstance(answer, commit.Committed):
            assert not lacking or base is not None
            self.snapshots[answer.snapshot] = needed
        else:
            # Without its block the server cannot know what else there is to miss.
            assert set(answer.ids) == ({digest(block)} if digest(block) in lacking else lacking)

    @precondition(lambda self: self._queued())
    @rule(choice=st.integers(0, 99))
    def deliver_a_task(self, choice: int) -> None:
        jobs = self._queued()
        job = jobs[choice % len(jobs)]
        Job.objects.filter(pk=job.pk).update(next_attempt_at=job.created_at)
        run_job(job.pk, WORK[route_of(job.kind, job.subject).task])

    @rule(choice=st.integers(0, 99))
    def deliver_an_old_task_again(self, choice: int) -> None:
        """What a doubled message could do in the worst case: run a step whose job is done, on anything."""
        packs, snapshots = list(Pack.objects.order_by("pk")), list(self.snapshots)
        for pack in packs[choice % len(packs) :][:1] if packs else []:
            verify_pack(pack.pk)
            deduplication.deduplicate_pack(pack.pk)
        for snapshot in snapshots[choice % len(snapshots) :][:1] if snapshots else []:
            complete_snapshot(snapshot)

    @precondition(lambda self: any(self.copies.values()))
    @rule(choice=st.integers(0, 9_999))
    def rot(self, choice: int) -> None:
        """A record of a pack rots, and a scrub comes by."""
        held = sorted((record_id, pack) for record_id, packs in self.copies.items() for pack in packs)
        record_id, pack_id = held[choice % len(held)]
        path = pack_path(Pack.objects.get(pk=pack_id))
        content = self.contents[record_id]
        overwrite(path, path.read_bytes().index(content) + 20, b"\x00\xff")
        self.copies[record_id].discard(pack_id)
        with without_tenant_scope("as the command does"):
            scrub_all()

    @invariant()
    def what_was_acknowledged_and_is_whole_is_present(self) -> None:
        ids = list(self.contents)
        expected = {record_id for record_id in ids if not self.copies[record_id]}
        assert present.missing_ids(self.vault.number, ids) == expected

    @invariant()
    def every_whole_record_reads_back(self) -> None:
        whole = [record_id for record_id in self.contents if self.copies[record_id]]
        for found in PackReader(self.vault.number).read(whole):
            assert found.record is not None
            assert found.record.sealed == self.contents[found.id]

    @invariant()
    def a_good_snapshot_is_whole(self) -> None:
        for snapshot in Snapshot.objects.filter(state="verified"):
            assert all(self.copies[record_id] for record_id in self.snapshots[snapshot.pk])

    def _is_open(self, backup: Backup) -> bool:
        begun = backup.begun
        return bool(begun and Session.objects.filter(pk=begun.session, fence=begun.fence, state="open").exists())

    def _queued(self) -> list[Job]:
        return list(Job.objects.filter(state=JobState.QUEUED).order_by("created_at"))


@pytest.mark.parametrize("steps", [25])
def test_any_order_of_events_agrees_with_the_model(db, strongroom_home, steps):
    run_state_machine_as_test(
        Catalogue,
        settings=settings(
            max_examples=8,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
