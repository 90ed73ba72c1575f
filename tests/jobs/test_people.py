"""What people do with jobs: each act is checked, audited, and says what to do where it cannot be done."""

from __future__ import annotations

import os
from uuid import uuid4

import pytest
from django.utils import timezone

from backup_platform.audit.models import Entry
from backup_platform.catalog.models import Session, Snapshot
from backup_platform.fleet.models import Machine
from backup_platform.jobs import agent_jobs, services
from backup_platform.jobs.models import Job
from backup_platform.policies.models import Assignment, Policy
from backup_platform.policies.services import delete_policy
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from tests.jobs.machines import Site, job, offer, start, state

BY = "user ann"


@pytest.fixture
def site(db) -> Site:
    site = Site("north")
    site.add_machines(2)
    return site


@pytest.fixture
def machine(site):
    return site.machines[0]


def verbs(site: Site) -> list[str]:
    with tenant_scope(site.tenant):
        return list(Entry.objects.order_by("id").values_list("verb", flat=True))


def again(model, row):
    with without_tenant_scope("test"):
        return model.objects.get(pk=row.pk)


def make_snapshot(site: Site, machine: Machine, kept: str = "verified") -> Snapshot:
    with tenant_scope(site.tenant):
        number = machine.snapshots.count() + 1 if hasattr(machine, "snapshots") else 1
        now, common = timezone.now(), {"tenant": site.tenant, "vault": site.vault, "machine": machine}
        session = Session.objects.create(**common, generation=1, gateway="g", lease_until=now, state="committed")
        return Snapshot.objects.create(
            id=uuid4(), **common, session=session, sequence=number, statement=b"s", statement_digest=os.urandom(32),
            root_hash=os.urandom(32), root_bytes=1, recipients=b"", blocks=b"", machine_time=now, received_at=now,
            statistics={}, state=kept,
        )  # fmt: skip


def test_what_waits_is_cancelled_at_once_and_what_runs_is_asked_to_stop(site, machine):
    waiting = site.ask(machine)
    assert agent_jobs.cancel(job(waiting), BY)
    assert not agent_jobs.cancel(job(waiting), BY)
    assert state(waiting) == "cancelled"
    site.ask(machine)
    running = start(machine)
    assert agent_jobs.cancel(job(running.job_id), BY)
    assert agent_jobs.cancellations([machine.pk]) == [(running.job_id, running.lease)]
    assert agent_jobs.report(running.job_id, running.lease, "failed", message="stopped")
    assert state(running.job_id) == "cancelled"
    assert verbs(site) == ["job.cancelled", "job.cancelled"]


def test_a_job_that_was_faster_than_its_cancellation_is_done(site, machine):
    site.ask(machine)
    running = start(machine)
    agent_jobs.cancel(job(running.job_id), BY)
    assert agent_jobs.report(running.job_id, running.lease, "done")
    assert state(running.job_id) == "done"


def test_an_offer_that_is_cancelled_meanwhile_cannot_be_accepted(site, machine):
    site.ask(machine)
    (offered,) = offer(machine)
    agent_jobs.cancel(job(offered.job_id), BY)
    assert not agent_jobs.accept(offered.job_id, offered.lease)


def test_work_on_stored_data_is_not_cancelled(site, sent):
    with tenant_scope(site.tenant):
        made = services.enqueue("verify", subject="pack:1", tenant_id=site.tenant.pk)
    with pytest.raises(agent_jobs.JobRefused):
        agent_jobs.cancel(job(made), BY)


def test_a_failed_job_is_tried_again_with_what_it_had(site, machine, sent):
    first = site.ask(machine, priority=3)
    running = start(machine)
    with pytest.raises(agent_jobs.JobRefused):
        agent_jobs.retry(job(first), BY)
    agent_jobs.report(first, running.lease, "failed")
    made = agent_jobs.retry(job(first), BY)
    assert (job(made).spec, job(made).priority, job(made).asked_by) == (job(first).spec, 3, BY)
    assert agent_jobs.retry(job(first), BY) is None, "the same waits already"
    assert verbs(site) == ["job.retried"]
    with tenant_scope(site.tenant):
        worker = services.enqueue("verify", subject="pack:1", tenant_id=site.tenant.pk)
        Job.objects.filter(pk=worker).update(state="failed")
    assert agent_jobs.retry(job(worker), BY) not in (None, worker)


def test_only_the_newest_of_each_policy_and_machine_is_tried_again(site):
    healed, broken = site.machines
    for one, outcomes in ((healed, ("failed", "done")), (broken, ("done", "failed"))):
        for outcome in outcomes:
            site.ask(one)
            running = start(one)
            agent_jobs.report(running.job_id, running.lease, outcome)
    by_hand = agent_jobs.start_by_hand(healed)
    agent_jobs.finish_by_hand(by_hand, "failed")
    with pytest.raises(agent_jobs.JobRefused, match="strongroom backup"):
        agent_jobs.retry(job(by_hand), BY)
    assert agent_jobs.retry_failed(site.tenant.pk, BY) == 1
    assert [one.machine_id for one in offer(*site.machines)] == [broken.pk]
    assert agent_jobs.retry_failed(site.tenant.pk, BY) == 0


def test_a_policy_runs_now_with_its_effective_settings(site, machine):
    with pytest.raises(agent_jobs.JobRefused, match="assign"):
        agent_jobs.run_now(site.policy, machine, BY)
    with tenant_scope(site.tenant):
        Policy.objects.update(settings={"selection.sources": ["/srv"]})
        overrides = {"limits.niceness": 7}
        Assignment.objects.create(tenant=site.tenant, policy=site.policy, machine=machine, overrides=overrides)
    made = agent_jobs.run_now(again(Policy, site.policy), machine, BY)
    assert (job(made).origin, job(made).spec["settings"]["limits.niceness"]) == ("person", 7)
    assert agent_jobs.run_now(again(Policy, site.policy), machine, BY) is None
    assert verbs(site) == ["job.run_now"]


def test_pausing_holds_backups_back_and_resuming_lets_them_go(site, machine):
    site.ask(machine)
    assert agent_jobs.pause_machine(machine, BY)
    assert not agent_jobs.pause_machine(machine, BY)
    assert not offer(machine)
    with pytest.raises(agent_jobs.JobRefused, match="paused"):
        agent_jobs.run_now(site.policy, again(Machine, machine), BY)
    assert agent_jobs.resume_machine(machine, BY)
    assert not agent_jobs.resume_machine(machine, BY)
    assert agent_jobs.pause_policy(site.policy, BY)
    assert not agent_jobs.pause_policy(site.policy, BY)
    assert not offer(machine)
    assert agent_jobs.resume_policy(site.policy, BY)
    assert not agent_jobs.resume_policy(site.policy, BY)
    assert offer(machine)
    assert verbs(site) == ["machine.paused", "machine.resumed", "policy.paused", "policy.resumed"]


def test_a_restore_is_asked_of_a_machines_own_snapshot_and_audited(site, machine):
    snapshot = make_snapshot(site, machine)
    made = agent_jobs.request_restore(machine, snapshot.pk, paths=["/srv/a"], into="inbox", asked_by=BY)
    (offered,) = offer(machine)
    assert (offered.job_id, offered.kind) == (made, "restore")
    assert offered.spec == {"snapshot": snapshot.pk.hex, "paths": ["/srv/a"], "into": "inbox"}
    with tenant_scope(site.tenant):
        line = Entry.objects.get()
    assert (line.verb, line.actor, line.object) == ("restore.requested", BY, f"machine:{machine.pk}")
    agent_jobs.accept(made, offered.lease)
    agent_jobs.report(made, offered.lease, "failed")
    assert agent_jobs.retry(job(made), BY)


@pytest.mark.defence
def test_a_restore_of_anybody_elses_snapshot_is_refused(site, machine):
    other = Site("south")
    (foreign,) = other.add_machines(1)
    with pytest.raises(agent_jobs.JobRefused, match="no such snapshot") as unknown:
        agent_jobs.request_restore(machine, uuid4(), asked_by=BY)
    with pytest.raises(agent_jobs.JobRefused) as hidden:
        agent_jobs.request_restore(machine, make_snapshot(other, foreign).pk, asked_by=BY)
    assert str(hidden.value) == str(unknown.value), "another tenant's looks like missing"
    with pytest.raises(agent_jobs.JobRefused, match="--kit"):
        agent_jobs.request_restore(machine, make_snapshot(site, site.machines[1]).pk, asked_by=BY)
    with without_tenant_scope("test"):
        Machine.objects.filter(pk=machine.pk).update(write_only=True)
    with pytest.raises(agent_jobs.JobRefused, match="write only"):
        agent_jobs.request_restore(again(Machine, machine), make_snapshot(site, machine).pk, asked_by=BY)


@pytest.mark.parametrize("paths", [["srv"], ["/srv/../etc"], ["/a\0b"], ["/" + "x" * 5_000], ["/x"] * 1_001])
def test_what_is_no_path_in_a_snapshot_is_refused_with_a_sentence(site, machine, paths):
    with pytest.raises(agent_jobs.JobRefused):
        agent_jobs.request_restore(machine, make_snapshot(site, machine).pk, paths=paths, asked_by=BY)


@pytest.mark.defence
@pytest.mark.parametrize("into", ["/etc", "../x", "a/b", ".hidden", "x" * 200, "a\n"])
def test_a_restore_names_a_folder_and_never_a_path(site, machine, into):
    """Law 8: only the machine's own configuration says where a restore may write."""
    with pytest.raises(agent_jobs.JobRefused, match=r"agent\.toml"):
        agent_jobs.request_restore(machine, make_snapshot(site, machine).pk, into=into, asked_by=BY)


@pytest.mark.defence
def test_what_waits_of_a_deleted_policy_is_cancelled_and_what_runs_goes_on(site, machine):
    other, policy = site.machines[1], site.policy
    running, waiting = site.ask(machine), site.ask(other)
    offered = start(machine)
    kept = site.ask(other, site.add_policy("Photos"))
    delete_policy(policy, by=BY)
    cancelled = job(waiting)
    assert (cancelled.state, cancelled.policy_id) == ("cancelled", None)
    assert cancelled.last_error == f"Its policy “Documents” was deleted by {BY}."
    assert (state(running), state(kept)) == ("running", "queued")
    assert agent_jobs.report(running, offered.lease, "done")
    with tenant_scope(site.tenant):
        assert Entry.objects.get(verb="policy.deleted").detail["withdrawn"] == 1


def test_an_offer_of_a_deleted_policy_cannot_be_taken_any_more(site, machine):
    job_id = site.ask(machine)
    (offered,) = offer(machine)
    delete_policy(site.policy, by=BY)
    assert not agent_jobs.accept(job_id, offered.lease)
    assert state(job_id) == "cancelled"
