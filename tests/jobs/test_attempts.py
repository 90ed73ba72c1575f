"""What counts as an attempt of a worker's job: its failures; no deaths of workers, no outages and no waiting."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import count

import pytest
from django.db import InterfaceError, OperationalError, ProgrammingError, transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backup_platform.catalog.models import Pack, Snapshot
from backup_platform.jobs import housekeeping, running, services, sweeping
from backup_platform.jobs.models import Job
from backup_platform.jobs.running import StillWaiting, run_job
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from tests.catalog.stage import Backup, contents, make_machine, make_vault, run_jobs, state_of

MINUTE = timedelta(seconds=60)
names = count()


@pytest.fixture
def job_id(db, sent):
    return make_job()


@pytest.fixture(autouse=True)
def keep_the_tests_own_connection(monkeypatch):
    monkeypatch.setattr(running, "close_old_connections", lambda: None)  # it would end the test's transaction


def make_job():
    with without_tenant_scope("the stage is set"):
        tenant = Tenant.objects.create(name=f"tenant {next(names)}")
        return services.enqueue("verify", subject=f"pack:{next(names)}", tenant_id=tenant.pk)


def row(job_id) -> Job:
    with without_tenant_scope("a test looks"):
        return Job.objects.get(pk=job_id)


def make_due(job_id) -> None:
    with without_tenant_scope("time passes"):
        Job.objects.filter(pk=job_id).update(next_attempt_at=timezone.now())


def attempt(job_id, fault: Exception | None) -> None:
    """An attempt that is due now and ends with FAULT, or whose worker dies (None)."""
    make_due(job_id)

    def work(job: Job) -> None:
        raise fault

    if fault is not None:
        assert run_job(job_id, work)
        return
    assert services.claim(job_id) is not None
    with without_tenant_scope("its lease runs out"):
        Job.objects.filter(pk=job_id).update(lease_until=timezone.now() - timedelta(seconds=1))
    sweeping.sweep()


def pause_of(job: Job, since: datetime) -> timedelta:
    return job.next_attempt_at - since


OUTAGE = OperationalError("the connection is closed")
ENDS = {
    "failed": ValueError("the work itself"),
    "died": None,
    "away": OUTAGE,
    "refused": ConnectionRefusedError(111, "Connection refused"),
    "waits": StillWaiting("for other work"),
}


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ends=st.lists(st.sampled_from(sorted(ENDS)), max_size=25))
@pytest.mark.django_db
def test_only_failures_of_the_work_use_up_its_attempts(sent, ends):
    with transaction.atomic():
        job_id = make_job()
        failures = deaths = 0
        for end in ends:
            before = timezone.now()
            attempt(job_id, ENDS[end])
            failures += end == "failed"
            deaths = deaths + 1 if end == "died" else 0
            job = row(job_id)
            assert (job.state == "failed") == (failures == 5 or deaths == 10)
            if job.state == "failed":
                break
            assert (job.state, job.attempts, job.lost) == ("queued", failures, deaths)
            assert end == "failed" or pause_of(job, before) < MINUTE + timedelta(seconds=5)
        transaction.set_rollback(True)


@pytest.mark.parametrize(
    "fault",
    [OUTAGE, InterfaceError("connection already closed"), ConnectionResetError(), TimeoutError()],
    ids=lambda fault: type(fault).__name__,
)
def test_what_was_away_is_asked_again_within_half_a_minute(job_id, fault):
    before = timezone.now()
    for _ in range(12):
        attempt(job_id, fault)
    job = row(job_id)
    assert (job.state, job.attempts) == ("queued", 0)
    assert type(fault).__name__ in job.last_error
    assert pause_of(job, before) < timedelta(seconds=30)


def test_what_a_broken_transaction_refuses_is_the_outage_that_broke_it(job_id):
    def work(job):
        try:
            raise OUTAGE
        except OperationalError:
            raise ProgrammingError("Cannot open a new connection in an atomic block.")  # noqa: B904 (as Django does)

    for _ in range(6):
        make_due(job_id)
        run_job(job_id, work)
    assert (row(job_id).state, row(job_id).attempts) == ("queued", 0)


def test_a_fault_of_the_work_is_none_of_the_database_though_it_came_while_one_was_handled(job_id):
    def work(job):
        try:
            raise OUTAGE
        except OperationalError:
            raise ValueError("the work itself")  # noqa: B904

    make_due(job_id)
    run_job(job_id, work)
    assert (row(job_id).attempts, row(job_id).last_error) == (1, "ValueError: the work itself")


def test_a_job_whose_worker_died_begins_again_at_once_and_then_waits_longer_up_to_a_minute(job_id):
    pauses = []
    for _ in range(8):
        before = timezone.now()
        attempt(job_id, None)
        pauses.append(round(pause_of(row(job_id), before).total_seconds()))
    assert pauses == [0, 5, 10, 20, 40, 60, 60, 60]
    attempt(job_id, StillWaiting())
    assert row(job_id).lost == 0, "only deaths in a row are counted"


def test_work_whose_job_failed_for_good_is_asked_for_again_by_its_own_tick(db, strongroom_home):
    from workers.app import TICKS
    from workers.tasks import ask_again

    vault = make_vault("north", 7003)
    with tenant_scope(vault.tenant_id):
        committed = Backup(make_machine(vault, "alpha")).run(contents(1))
        Job.objects.update(state="failed", finished_at=timezone.now())
        assert run_jobs() == 0
    ask_again()
    with tenant_scope(vault.tenant_id):
        run_jobs()
        assert state_of(committed) == "verified"
    assert TICKS[ask_again.name][0] <= 3600


@pytest.mark.django_db(transaction=True)
def test_the_platform_never_forgets_what_it_has_not_verified(strongroom_home, sent):
    """Whatever becomes of the jobs: what the rows say is still to be done is asked for."""
    vault = make_vault("south", 7004)
    with tenant_scope(vault.tenant_id):
        Backup(make_machine(vault, "beta")).run(contents(1))
        Job.objects.all().delete()
    housekeeping.ask_for_what_is_left()
    with tenant_scope(vault.tenant_id):
        subjects = set(Job.objects.values_list("subject", flat=True))
        assert subjects == {f"pack:{Pack.objects.get().pk}", f"snapshot:{Snapshot.objects.get().pk}"}
