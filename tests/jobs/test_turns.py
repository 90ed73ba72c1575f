"""Turns among the jobs that wait for other people's machines: nobody gets all processes, and nothing is lost by it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count
from uuid import UUID, uuid4

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.utils import timezone

from backup_platform import dispatch
from backup_platform.jobs import services, sweeping, turns
from backup_platform.jobs.models import Job
from backup_platform.jobs.routes import ROUTES
from backup_platform.jobs.running import StillWaiting, run_job
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import without_tenant_scope

numbers = count(1)


@pytest.fixture(autouse=True)
def sent_in_turn(sent, monkeypatch):
    monkeypatch.setattr(turns, "send", lambda task, queue, job_id: sent.append((task, queue, str(job_id))))


@pytest.fixture
def somebody(db):
    """Makes owners."""

    def make() -> UUID:
        with without_tenant_scope("the stage is set"):
            return Tenant.objects.create(name=f"tenant {next(numbers)}").pk

    return make


def ask(kind: str, subject: str, owner: UUID | None) -> UUID:
    with without_tenant_scope("the stage is set"):
        return services.enqueue(kind, subject=subject, tenant_id=owner)


def packs(owner: UUID | None, target: UUID, number: int = 3) -> list[UUID]:
    return [ask("tier", f"pack:{next(numbers)}@{target}", owner) for _ in range(number)]


def row(job_id: UUID) -> Job:
    with without_tenant_scope("a test looks"):
        return Job.objects.get(pk=job_id)


def test_a_second_pack_of_an_owner_waits_without_a_trace_and_the_others_go_on(somebody):
    slow, other = somebody(), somebody()
    mine, waits, _ = packs(slow, uuid4())
    (theirs,) = packs(other, uuid4(), 1)
    assert services.claim(mine)
    before = row(waits)
    assert services.claim(waits) is None
    after = row(waits)
    assert (after.state, after.attempts, after.next_attempt_at) == ("queued", 0, before.next_attempt_at)
    assert services.claim(theirs)


def test_what_else_an_owner_has_to_do_goes_on_beside_its_packs_but_never_in_all_processes(somebody):
    slow, other = somebody(), somebody()
    assert services.claim(packs(slow, uuid4(), 1)[0])
    assert services.claim(ask("expire", f"tenant:{slow}", slow))
    assert services.claim(ask("verify", f"target:{uuid4()}", slow)) is None, "that would be the last process"
    assert services.claim(ask("verify", f"target:{uuid4()}", other))


def test_a_shared_target_is_given_one_pack_at_a_time_whoever_owns_them(somebody):
    target = uuid4()
    one, two = packs(somebody(), target, 1)[0], packs(somebody(), target, 1)[0]
    elsewhere = packs(somebody(), uuid4(), 1)[0]
    assert services.claim(one)
    assert services.claim(two) is None
    assert services.claim(elsewhere)


def test_packs_of_many_owners_leave_a_process_to_everything_else(somebody):
    jobs = [packs(somebody(), uuid4(), 1)[0] for _ in range(4)]
    assert [bool(services.claim(job)) for job in jobs] == [True, True, False, False]
    assert services.claim(ask("scrub", "pack:1", somebody()))


def test_the_work_of_other_queues_needs_no_turn(somebody):
    owner = somebody()
    assert all(services.claim(ask("verify", f"pack:{next(numbers)}", owner)) for _ in range(5))


def test_more_processes_are_more_turns(somebody, monkeypatch):
    monkeypatch.setattr(turns, "tier_processes", lambda: 9)
    owner = somebody()
    jobs = [packs(owner, uuid4(), 1)[0] for _ in range(5)]
    assert [bool(services.claim(job)) for job in jobs] == [True, True, True, False, False]


@pytest.mark.parametrize("value", ["2", "many"])
def test_too_few_processes_are_refused_in_a_sentence(monkeypatch, value):
    monkeypatch.setenv("STRONGROOM_TIER_PROCESSES", value)
    dispatch.tier_processes.cache_clear()
    try:
        with pytest.raises(ImproperlyConfigured, match="STRONGROOM_TIER_PROCESSES must be"):
            dispatch.tier_processes()
    finally:
        dispatch.tier_processes.cache_clear()


def test_who_ends_sends_the_next_of_each_owner_and_nobody_twice(somebody, sent):
    slow, other = somebody(), somebody()
    first, *_ = packs(slow, uuid4(), 4)
    packs(other, uuid4(), 4)
    sent.clear()
    assert run_job(first, lambda job: None)
    owners = [row(UUID(job_id)).tenant_id for _, _, job_id in sent]
    assert sorted(map(str, owners)) == sorted([str(slow), str(other)])


def test_a_job_that_waits_for_something_lets_the_next_begin(somebody, sent):
    first, second = packs(somebody(), uuid4(), 2)

    def waits(job: Job) -> None:
        raise StillWaiting("The pack was put there.")

    sent.clear()
    assert run_job(first, waits)
    assert [job_id for _, _, job_id in sent] == [str(second)]
    assert row(first).attempts == 0


def test_a_thousand_jobs_of_one_owner_keep_nobody_out_of_the_sweep(somebody, sent, monkeypatch):
    monkeypatch.setattr(turns, "MOST_LANES", 5)
    monkeypatch.setattr(sweeping, "MAX_SENT", 5)
    slow = somebody()
    first, *_ = packs(slow, uuid4(), 30)
    assert services.claim(first)
    verify, theirs = ask("verify", "pack:1", somebody()), packs(somebody(), uuid4(), 1)[0]
    with without_tenant_scope("time passes"):
        old = timezone.now() - timedelta(minutes=1)
        Job.objects.filter(tenant=slow, state="queued").update(next_attempt_at=old, sent_at=old)
        Job.objects.filter(pk=verify).update(sent_at=old)
    sent.clear()
    sweeping.sweep()
    assert {job_id for _, _, job_id in sent} == {str(verify), str(theirs)}, "and none that may not begin"


def test_a_dead_workers_turn_ends_with_its_claim(somebody):
    first, second = packs(somebody(), uuid4(), 2)
    assert services.claim(first)
    with without_tenant_scope("time passes"):
        Job.objects.filter(pk=first).update(lease_until=timezone.now() - timedelta(seconds=1))
    sweeping.sweep()
    assert services.claim(second)


@pytest.mark.django_db(transaction=True)
def test_of_many_claims_at_the_same_moment_one_gets_the_place(somebody):
    jobs = packs(somebody(), uuid4(), 8)

    def claim(job_id: UUID) -> bool:
        try:
            return services.claim(job_id) is not None
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(claim, jobs)) == 1


def test_everything_that_waits_for_targets_is_in_the_queue_with_turns():
    """Whoever adds a kind of work decides: only what never asks a target may be in another queue."""
    elsewhere = {(str(kind), what) for (kind, what), route in ROUTES.items() if route.queue != turns.QUEUE}
    assert elsewhere == {("verify", "pack"), ("deduplicate", "pack"), ("verify", "snapshot")}
