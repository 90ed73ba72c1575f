"""The model of reclaim: a state machine of everything that happens in a vault, against what must never be lost.

Machines back up with caches that may be old (they may use ids without asking), workers come late, twice or never,
snapshots expire, are held and brought back, rounds go on a step at a time, packs are compacted and live elsewhere.
The model is only: what was acknowledged to which open session, and what each committed snapshot needs.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from contextlib import ExitStack, suppress
from datetime import timedelta
from itertools import count
from pathlib import Path
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from backup_platform.catalog import commit, deduplication, present, sessions, stores
from backup_platform.catalog.completion import complete_snapshot
from backup_platform.catalog.models import (
    Copy,
    CopyState,
    Pack,
    PackPlace,
    Session,
    SessionState,
    Snapshot,
    SnapshotState,
)
from backup_platform.catalog.reading import PackReader
from backup_platform.catalog.verification import verify_pack
from backup_platform.jobs.models import Job, JobState
from backup_platform.jobs.routes import route_of
from backup_platform.jobs.running import run_job
from backup_platform.retention.errors import RetentionRefused
from backup_platform.retention.holds import release_hold, set_hold
from backup_platform.retention.services import bring_back
from backup_platform.storage.local import LocalStore
from backup_platform.targets.models import Target, TargetKind
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from backup_platform.upkeep import rewriting
from backup_platform.upkeep.errors import TurnOver
from backup_platform.upkeep.turns import Turn
from tests.catalog.stage import BLOCK, CHUNK, WORK, Backup, block_of, digest, make_machine, make_vault
from tests.upkeep.reclaim_stage import compact, let_expire, run_round, waiting_jobs

POOL = [bytes([number]) * 400 for number in range(1, 11)]
numbers = count(20_000)
pieces = st.lists(st.sampled_from(POOL), min_size=1, max_size=3, unique=True)
LIVE = ("received", "verified", "damaged", "expired")


class Crash(BaseException):
    """A process dies in the middle of something."""


class StepsLeft(Turn):
    """A turn that ends, or a worker that dies, after so many steps."""

    def __init__(self, steps: int, fault: type[BaseException]) -> None:
        super().__init__()
        self.steps, self.fault = steps, fault

    def check(self) -> None:
        self.steps -= 1
        if self.steps < 0:
            raise self.fault


class Vaulted(RuleBasedStateMachine):
    """Two machines, one vault, a second target; nothing that is needed may ever be lost."""

    def __init__(self) -> None:
        super().__init__()
        number = next(numbers)
        self.stack = ExitStack()
        self.stack.enter_context(transaction.atomic())
        self.vault = make_vault(f"model-{number}", number)
        self.stack.enter_context(tenant_scope(self.vault.tenant_id))
        self.backups = [Backup(make_machine(self.vault, name)) for name in ("alpha", "beta")]
        directory = self.stack.enter_context(tempfile.TemporaryDirectory(prefix="sr-model-"))
        self.elsewhere = LocalStore.create(Path(directory) / "elsewhere")
        with without_tenant_scope("the stage is set"):
            self.target = Target.objects.create(
                name="elsewhere", kind=TargetKind.LOCAL, path=str(self.elsewhere.root), tenant_id=self.vault.tenant_id
            )
        self.caches: list[dict[bytes, bytes]] = [{}, {}]
        """What each machine believes is there, whatever became of it."""
        self.sent: defaultdict[UUID, dict[bytes, bytes]] = defaultdict(dict)
        """What was acknowledged to each session."""
        self.needs: dict[UUID, dict[bytes, bytes]] = {}
        """What each committed snapshot needs."""
        self.hold = None

    def teardown(self) -> None:
        try:
            self.come_to_rest()
        finally:
            transaction.set_rollback(True)
            self.stack.close()

    def come_to_rest(self) -> None:
        """All workers back, all sessions over, rounds to the end: what must be there still is, and garbage is not."""
        self._run_jobs()
        Session.objects.filter(state=SessionState.OPEN).update(state=SessionState.ABANDONED)
        for _ in range(3):
            self._run_jobs()
            run_round(self.vault)
        self.every_needed_record_reads_back()
        for pk, state in Snapshot.objects.values_list("pk", "state"):
            assert state in ("verified", "expired", "reclaimed"), f"{pk} is {state}"
        needed = {record_id for pk in self._counting() for record_id in self.needs[pk]}
        with connection.cursor() as cursor:
            cursor.execute("SELECT id FROM catalog_chunk WHERE vault = %s", [self.vault.number])
            left = {bytes(row[0]) for row in cursor}
        if self.needs:
            assert left == needed, "garbage is left, or something needed is gone"

    # --- machines ------------------------------------------------------------------------------------------------

    @rule(who=st.integers(0, 1))
    def begin(self, who: int) -> None:
        """A machine begins, or comes back after its connection was lost."""
        old = self.backups[who].begun
        if old is not None:
            sessions.release_session(old.session, old.fence)
        self.backups[who].begin()

    @rule(who=st.integers(0, 1), contents=pieces, with_block=st.booleans(), asks=st.booleans())
    def send(self, who: int, contents: list[bytes], with_block: bool, asks: bool) -> None:
        """Records are sent and acknowledged: only what is missing, or unasked."""
        self._send(who, self._records(contents) if with_block else [(CHUNK, c) for c in contents], asks=asks)

    @rule(who=st.integers(0, 1), contents=pieces, trusts_cache=st.booleans())
    def back_up(self, who: int, contents: list[bytes], trusts_cache: bool) -> None:
        """A whole backup. With `trusts_cache`, ids that were once there are used without asking about them."""
        if not self._is_open(who):
            self.begin(who)
        records = self._records(contents)
        known = self.caches[who] if trusts_cache else {}
        self._send(who, [(kind, c) for kind, c in records if digest(c) not in known], asks=True)
        answer = self._commit(who, contents)
        if isinstance(answer, commit.MissingIds):  # as the agent does: it sends them, and commits again
            lacking = [(kind, c) for kind, c in records if digest(c) in set(answer.ids)]
            self._send(who, lacking, asks=False)
            self._commit(who, contents)

    @rule(who=st.integers(0, 1), contents=pieces)
    def commit_only(self, who: int, contents: list[bytes]) -> None:
        """A commit of what was perhaps never sent: whatever it needs and the server lacks must be named."""
        if not self._is_open(who):
            self.begin(who)
        self._commit(who, contents)

    @rule(who=st.integers(0, 1))
    def give_up(self, who: int) -> None:
        """The agent ends its backup without a commit."""
        if self._is_open(who):
            begun = self.backups[who].begun
            sessions.end_session(begun.session, begun.fence)

    # --- workers -------------------------------------------------------------------------------------------------

    @precondition(lambda self: self._queued())
    @rule(choice=st.integers(0, 99))
    def deliver_a_task(self, choice: int) -> None:
        """Any of the waiting jobs is done now: the others' workers are down."""
        jobs = self._queued()
        self._run(jobs[choice % len(jobs)])

    @rule()
    def workers_catch_up(self) -> None:
        """Everything that waits is done."""
        self._run_jobs()

    @rule(choice=st.integers(0, 99))
    def deliver_an_old_task_again(self, choice: int) -> None:
        """What a doubled message could do in the worst case: a step whose job is done, on anything."""
        packs = list(Pack.objects.exclude(spool="compact").order_by("pk"))
        for pack in packs[choice % len(packs) :][:1] if packs else []:
            verify_pack(pack.pk)
            deduplication.deduplicate_pack(pack.pk)
        for pk in list(self.needs)[choice % len(self.needs) :][:1] if self.needs else []:
            complete_snapshot(pk)

    @precondition(lambda self: self._queued())
    @rule(choice=st.integers(0, 99))
    def lose_a_task(self, choice: int) -> None:
        """A job fails for good. The daily look asks for it again, in the end."""
        jobs = self._queued()
        Job.objects.filter(pk=jobs[choice % len(jobs)].pk).update(state=JobState.FAILED)

    # --- retention -----------------------------------------------------------------------------------------------

    @precondition(lambda self: self.needs)
    @rule(choice=st.integers(0, 99), long_ago=st.booleans())
    def expire(self, choice: int, long_ago: bool) -> None:
        """A snapshot expires, just now or so long ago that it cannot be brought back."""
        pk = list(self.needs)[choice % len(self.needs)]
        let_expire(pk, ago=timedelta(days=400) if long_ago else timedelta(hours=1))

    @precondition(lambda self: self.needs)
    @rule(choice=st.integers(0, 99))
    def undelete(self, choice: int) -> None:
        """Somebody brings one back, if that is possible still."""
        expired = list(Snapshot.objects.filter(state=SnapshotState.EXPIRED).order_by("pk"))
        for snapshot in expired[choice % len(expired) :][:1] if expired else []:
            with suppress(RetentionRefused):
                bring_back(snapshot, by="model")

    @rule(about=st.integers(0, 1))
    def hold(self, about: int) -> None:
        """A legal hold is set on a machine, or released."""
        if self.hold_row is None:
            machine = self.backups[about].machine
            self.hold_row = set_hold(self.vault.tenant, "case", "a court", by="model", scope="machine", about=machine)
        else:
            release_hold(self.hold_row, by="model", because="it is over")
            self.hold_row = None

    hold_row = None

    # --- upkeep --------------------------------------------------------------------------------------------------

    @rule(begin=st.booleans())
    def reclaim(self, begin: bool) -> None:
        """A call of reclaim, as a worker makes it."""
        run_round(self.vault, begin=begin)

    @rule(steps=st.integers(0, 12), dies=st.booleans())
    def reclaim_is_cut_short(self, steps: int, dies: bool) -> None:
        """Its turn is over, or its worker dies, in the middle."""
        self._cut_short(lambda turn: run_round_with(self.vault, turn), steps, dies)

    @rule()
    def compact(self) -> None:
        """Mostly dead and small packs are rewritten."""
        compact(self.vault)

    @rule(where=st.sampled_from(["_write", "_place", "_switch", "_publish", "_point", "release_packs"]))
    def compact_dies(self, where: str) -> None:
        """Its worker dies there; the leases that it held end by themselves later."""
        kept, discard = getattr(rewriting, where), rewriting._discard

        def die(*args: object, **more: object) -> None:
            raise Crash

        setattr(rewriting, where, die)
        rewriting._discard = lambda pack: None
        try:
            with suppress(Crash):  # what was committed before it stays: inner transactions are savepoints here
                compact(self.vault)
        finally:
            setattr(rewriting, where, kept)
            rewriting._discard = discard
        Pack.objects.update(lease_until=timezone.now() - timedelta(seconds=1))

    @rule(choice=st.integers(0, 99), evict=st.booleans())
    def tier(self, choice: int, evict: bool) -> None:
        """A pack is copied to the other target; its file at home may go then."""
        here = list(Pack.objects.filter(place=PackPlace.TARGET, unlink_at__isnull=True).order_by("pk"))
        for pack in here[choice % len(here) :][:1] if here else []:
            key = stores.pack_key(pack.tenant_id, pack.vault_id, pack.uid)
            if not self.elsewhere.exists(key):
                self.elsewhere.put(key, stores.local_target().get(pack.path))
            Copy.objects.update_or_create(
                pack=pack,
                target=self.target,
                defaults={"tenant_id": pack.tenant_id, "state": CopyState.GOOD, "key": key, "bytes": pack.bytes},
            )
            if evict:
                Pack.objects.filter(pk=pack.pk).update(place=PackPlace.REMOTE)
                stores.local_target().delete(pack.path)

    @rule()
    def tiering_catches_up(self) -> None:
        """The copies that were asked for (of what compaction made) are made."""
        for copy in Copy.objects.filter(state=CopyState.WRITING).select_related("pack"):
            if copy.pack.place == PackPlace.TARGET and not self.elsewhere.exists(copy.key):
                self.elsewhere.put(copy.key, stores.local_target().get(copy.pack.path))
                Copy.objects.filter(pk=copy.pk).update(state=CopyState.GOOD)

    # --- what must hold after every step --------------------------------------------------------------------------

    @invariant()
    def every_needed_record_reads_back(self) -> None:
        """Live never reclaimed: all that a snapshot that counts needs is there, with its right bytes."""
        needed = {i: c for pk in self._counting() for i, c in self.needs[pk].items()}
        self._read(needed)

    @invariant()
    def what_was_acknowledged_to_an_open_session_is_readable(self) -> None:
        """What an unfinished backup has sent is there until it ends, condemned or not."""
        open_ = set(Session.objects.filter(state=SessionState.OPEN).values_list("pk", flat=True))
        self._read({i: c for pk, records in self.sent.items() if pk in open_ for i, c in records.items()})

    @invariant()
    def a_verified_snapshot_counts_nothing_that_is_condemned(self) -> None:
        """Verified means restorable by everybody who asks, not only by who searches."""
        ids = {
            record_id
            for pk in Snapshot.objects.filter(state=SnapshotState.VERIFIED).values_list("pk", flat=True)
            for record_id in self.needs[pk]
        }
        assert present.missing_ids(self.vault.number, list(ids)) == set()

    # --- how ------------------------------------------------------------------------------------------------------

    def _counting(self) -> list[UUID]:
        return list(Snapshot.objects.filter(state__in=LIVE).values_list("pk", flat=True))

    def _read(self, expected: dict[bytes, bytes]) -> None:
        for found in PackReader(self.vault.number).read(list(expected)):
            assert found.record is not None, "a record that is needed is gone"
            assert found.record.sealed == expected[found.id]

    def _records(self, contents: list[bytes]) -> list[tuple[int, bytes]]:
        return [(CHUNK, content) for content in contents] + [(BLOCK, block_of(contents))]

    def _is_open(self, who: int) -> bool:
        begun = self.backups[who].begun
        return bool(begun and Session.objects.filter(pk=begun.session, fence=begun.fence, state="open").exists())

    def _send(self, who: int, records: list[tuple[int, bytes]], *, asks: bool) -> None:
        if not self._is_open(who):
            return
        if asks and records:
            missing = present.missing_ids(self.vault.number, [digest(content) for _, content in records])
            records = [(kind, content) for kind, content in records if digest(content) in missing]
        if not records:
            return
        backup = self.backups[who]
        backup.send_records(records)
        self.sent[backup.begun.session].update({digest(content): content for _, content in records})

    def _commit(self, who: int, contents: list[bytes]) -> commit.Committed | commit.MissingIds:
        backup = self.backups[who]
        answer = backup.propose(contents).send(backup.machine, backup.begun)
        if isinstance(answer, commit.Committed):
            self.needs[answer.snapshot] = {digest(c): c for _, c in self._records(contents)}
            self.caches[who].update(self.needs[answer.snapshot])
        return answer

    def _queued(self) -> list[Job]:
        return waiting_jobs()

    def _run(self, job: Job) -> None:
        Job.objects.filter(pk=job.pk).update(next_attempt_at=job.created_at)
        run_job(job.pk, WORK[route_of(job.kind, job.subject).task])

    def _run_jobs(self) -> None:
        from backup_platform.catalog.work import ask_again

        ask_again()
        for _ in range(60):
            jobs = self._queued()
            if not jobs:
                return
            for job in jobs:
                self._run(job)
        raise AssertionError("the work list does not come to an end")

    def _cut_short(self, work: object, steps: int, dies: bool) -> None:
        with suppress(Crash):
            work(StepsLeft(steps, Crash if dies else TurnOver))  # type: ignore[operator]


def run_round_with(vault: object, turn: Turn) -> None:
    """A call of reclaim with this turn."""
    from backup_platform.upkeep.reclaiming import reclaim_vault

    vault.refresh_from_db()  # type: ignore[attr-defined]
    reclaim_vault(vault, turn, grace=timedelta(0))  # type: ignore[arg-type]
