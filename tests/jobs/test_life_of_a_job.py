"""Claims, leases, failures, waiting and the sweep: delivered twice or never, both must be boring."""

from __future__ import annotations

import threading
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import close_old_connections, transaction
from django.utils import timezone

from backup_platform.jobs import housekeeping, renewing, services, sweeping
from backup_platform.jobs.models import Job
from backup_platform.jobs.running import StillWaiting, run_job
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import ScopeError, current_tenant_id, tenant_scope, without_tenant_scope


@pytest.fixture
def tenant(db) -> Tenant:
    with without_tenant_scope("the stage is set"):
        return Tenant.objects.create(name="north")


@pytest.fixture(autouse=True)
def everywhere(request):
    with without_tenant_scope("these tests look at the whole list"):
        yield


def enqueue(tenant: Tenant, subject: str = "pack:1"):
    return services.enqueue("verify", subject=subject, tenant_id=tenant.pk)


def later(seconds: float) -> None:
    """Let time pass, by moving every row into the past."""
    for job in Job.objects.all():
        for name in ("next_attempt_at", "lease_until", "sent_at", "finished_at"):
            if getattr(job, name):
                setattr(job, name, getattr(job, name) - timedelta(seconds=seconds))
        job.save()


def test_work_is_put_on_the_list_once_and_sent_once(tenant, sent):
    job_id = enqueue(tenant)
    assert enqueue(tenant) is None
    assert sent == [("strongroom.verify_pack", "verify", str(job_id))]
    assert Job.objects.count() == 1


def test_the_same_work_can_come_again_after_it_is_done(tenant, sent):
    job_id = enqueue(tenant)
    run_job(job_id, lambda job: {"result": 1})
    assert Job.objects.get().state == "done"
    assert Job.objects.get().progress == {"result": 1}
    assert enqueue(tenant) not in (None, job_id)


def test_nothing_is_left_when_the_business_change_is_rolled_back(tenant, sent):
    with transaction.atomic():
        enqueue(tenant)
        transaction.set_rollback(True)
    assert not Job.objects.exists()


def test_a_job_is_claimed_by_one_worker_and_its_attempt_counts_before_the_work(tenant, sent):
    job_id = enqueue(tenant)
    job = services.claim(job_id)
    assert (job.state, job.attempts) == ("running", 1)
    assert services.claim(job_id) is None
    assert not run_job(job_id, lambda job: pytest.fail("delivered twice"))


def test_the_work_runs_in_its_tenants_scope(tenant, sent):
    seen = []
    run_job(enqueue(tenant), lambda job: seen.append(current_tenant_id()))
    assert seen == [tenant.pk]


def test_an_unknown_job_is_no_trouble(tenant, sent):
    assert not run_job("00000000-0000-0000-0000-000000000000", lambda job: None)


def test_a_failure_is_tried_again_after_growing_pauses_and_is_poison_after_five(tenant, sent):
    job_id = enqueue(tenant)
    pauses = []

    def burst(job):
        raise OSError(5, "Input/output error", "/secret/path")

    for _ in range(5):
        later(3600)
        run_job(job_id, burst)
        pauses.append((Job.objects.get().next_attempt_at - timezone.now()).total_seconds())
    job = Job.objects.get()
    assert (job.state, job.attempts, job.last_error) == ("failed", 5, "OSError: Input/output error")
    assert [round(pause, -1) for pause in pauses[:4]] == [10, 20, 40, 80]
    later(3600)
    assert not run_job(job_id, burst)


def test_a_job_is_not_claimed_before_its_next_attempt_is_due(tenant, sent):
    job_id = enqueue(tenant)
    services.fail(services.claim(job_id), "not now")
    assert services.claim(job_id) is None
    later(11)
    assert services.claim(job_id) is not None


def test_a_claim_that_was_lost_can_write_nothing_more(tenant, sent):
    job_id = enqueue(tenant)
    old = services.claim(job_id)
    later(200)
    sweeping.sweep()
    new = services.claim(job_id)
    assert (new.attempts, new.lost) == (1, 1)
    for write in (services.renew, services.finish):
        assert not write(old)
    assert not services.fail(old, "late")
    assert not services.defer(old, timedelta(seconds=1))
    assert Job.objects.get().lease_owner == new.lease_owner
    assert services.finish(new)


def test_renewing_keeps_the_claim_and_says_how_far_it_is(tenant, sent):
    job = services.claim(enqueue(tenant))
    later(100)
    assert services.renew(job, {"done": 5})
    later(100)
    assert sweeping.sweep().freed == 0
    assert Job.objects.get().progress == {"done": 5}


def test_a_worker_that_dies_ten_times_in_a_row_fails_the_job(tenant, sent):
    job_id = enqueue(tenant)
    for death in range(1, 11):
        later(60)
        assert services.claim(job_id) is not None
        later(200)
        assert sweeping.sweep().failed == (death == 10)
    job = Job.objects.get()
    assert (job.state, job.last_error) == ("failed", "Its worker died, ten times in a row.")
    later(3600)
    assert services.claim(job_id) is None


def test_waiting_is_no_failure_and_sleeps(tenant, sent):
    job_id = enqueue(tenant)

    def wait(job):
        raise StillWaiting

    for _ in range(7):
        assert run_job(job_id, wait)
        assert services.claim(job_id) is None
        later(60)
    assert (Job.objects.get().state, Job.objects.get().attempts) == ("queued", 0)


def test_who_is_asked_for_again_while_at_work_looks_again_at_once(tenant, sent):
    job_id = enqueue(tenant)

    def wait(job):
        enqueue(tenant)
        services.renew(job)
        raise StillWaiting

    run_job(job_id, wait)
    assert services.claim(job_id) is not None
    assert len(sent) == 3


def test_a_sleeping_job_that_is_asked_for_is_due_at_once(tenant, sent):
    job_id = enqueue(tenant)
    services.defer(services.claim(job_id), timedelta(hours=1))
    assert enqueue(tenant) == job_id
    assert services.claim(job_id) is not None


def times_sent(sent, monkeypatch, seconds: int) -> list[int]:
    """When the sweep sent the one job, counted from its last message and looked at every five seconds of its clock."""
    sent.clear()
    start, times = Job.objects.get().sent_at, []
    for second in range(0, seconds, 5):
        now = start + timedelta(seconds=second)
        monkeypatch.setattr(sweeping, "timezone", SimpleNamespace(now=lambda now=now: now))
        sweeping.sweep()
        if sent:
            times.append(second)
            sent.clear()
    return times


def test_a_message_that_nobody_takes_is_sent_again_at_doubling_intervals(tenant, sent, monkeypatch):
    monkeypatch.setattr(sweeping, "queue_length", lambda queue: 7)
    job_id = enqueue(tenant)
    assert times_sent(sent, monkeypatch, 300) == pytest.approx([15, 45, 105, 225], abs=10)
    Job.objects.update(sent_count=1000)
    assert times_sent(sent, monkeypatch, 500) == pytest.approx([480], abs=10), "it is never left for longer"
    assert services.claim(job_id) is not None


def test_a_lost_message_is_sent_again_in_a_quarter_minute_however_often_it_is_lost(tenant, sent, monkeypatch):
    """In an empty queue no message waits. Of the other queues' lengths nothing follows."""
    monkeypatch.setattr(sweeping, "queue_length", lambda queue: {"verify": 0}.get(queue, 7))
    job_id = enqueue(tenant)
    Job.objects.update(sent_count=30)
    assert times_sent(sent, monkeypatch, 100) == [15, 30, 45, 60, 75, 90]
    assert services.claim(job_id) is not None


def test_nothing_is_added_to_a_queue_that_is_full_or_cannot_be_asked(tenant, sent, monkeypatch):
    enqueue(tenant)
    sent.clear()
    later(60)
    for length in (10_000, None):
        monkeypatch.setattr(sweeping, "queue_length", lambda queue, length=length: length)
        assert sweeping.sweep().sent == 0
    monkeypatch.setattr(sweeping, "queue_length", lambda queue: 9_999)
    enqueue(tenant, "pack:2")
    later(60)
    assert sweeping.sweep().sent == 1


def test_done_jobs_are_forgotten_after_a_month_and_failed_ones_are_not(tenant, sent):
    run_job(enqueue(tenant), lambda job: None)
    failed = enqueue(tenant, "pack:2")
    Job.objects.filter(pk=failed).update(state="failed", finished_at=timezone.now())
    later(31 * 86400)
    housekeeping.daily()
    assert [job.pk for job in Job.objects.all()] == [failed]


def test_a_job_of_another_tenant_cannot_be_made_in_a_tenants_scope(tenant, sent):
    other = Tenant.objects.create(name="south")
    with tenant_scope(tenant), pytest.raises(ScopeError):
        enqueue(other)


@pytest.mark.django_db(transaction=True)
def test_of_two_workers_at_once_one_gets_the_job(transactional_db, sent):
    job_id = enqueue(Tenant.objects.create(name="north"))
    start, claimed = threading.Barrier(8), []

    def work() -> None:
        start.wait(10)
        claimed.append(services.claim(job_id))
        close_old_connections()
        from django.db import connection

        connection.close()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len([job for job in claimed if job is not None]) == 1
    assert Job.objects.get().attempts == 1


def test_paced_renewal_writes_seldom_and_hears_that_the_claim_was_lost(tenant, sent, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(renewing, "monotonic", lambda: clock[0])
    job = services.claim(enqueue(tenant))
    beat = renewing.paced_renewal(job, pace=10)
    until = Job.objects.get(pk=job.pk).lease_until
    assert all(beat() for _ in range(100))
    assert Job.objects.get(pk=job.pk).lease_until == until
    clock[0] = 10
    assert beat()
    assert Job.objects.get(pk=job.pk).lease_until > until
    Job.objects.filter(pk=job.pk).update(lease_owner="somebody else")
    assert beat()
    clock[0] = 20
    assert not beat()
    assert not beat()
