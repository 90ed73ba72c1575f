"""Who goes next: fair between tenants, within limits, in a bounded number of statements."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from backup_platform.fleet.models import Machine
from backup_platform.jobs import agent_jobs
from backup_platform.jobs.fairness import Room, Waiting, share_out
from backup_platform.jobs.models import Job, JobLimits
from backup_platform.policies.models import Policy
from backup_platform.tenants.scope import without_tenant_scope
from tests.jobs.machines import Site, offer, start, state


@pytest.fixture
def site(db) -> Site:
    return Site("north")


def limit(**values) -> None:
    with without_tenant_scope("test"):
        JobLimits.objects.create(**values)


def names(offers) -> Counter:
    with without_tenant_scope("test"):
        owners = dict(Machine.objects.values_list("pk", "tenant__name"))
    return Counter(owners[one.machine_id] for one in offers)


def test_a_tenant_that_floods_does_not_slow_another(site):
    flood, calm = site, Site("south")
    for one in flood.add_machines(40):
        flood.ask(one, priority=10)
    for one in calm.add_machines(3):
        calm.ask(one, priority=-10)
    assert names(offer(*flood.machines, *calm.machines, limit=8)) == {"north": 5, "south": 3}


def test_whoever_has_fewest_at_work_goes_first(site):
    other = Site("south")
    for one in site.add_machines(10):
        site.ask(one)
    offer(*site.machines, limit=4)
    for one in other.add_machines(10):
        other.ask(one)
    assert names(offer(*site.machines, *other.machines, limit=4)) == {"south": 4}
    assert names(offer(*site.machines, *other.machines, limit=4)) == {"north": 2, "south": 2}


def test_priority_goes_before_due_time_inside_a_tenant(site):
    early, late, urgent = site.add_machines(3)
    now = timezone.now()
    site.ask(late, due_at=now - timedelta(minutes=1))
    site.ask(early, due_at=now - timedelta(hours=1))
    site.ask(urgent, due_at=now, priority=1)
    found = [offer(*site.machines, limit=1)[0].machine_id for _ in range(3)]
    assert found == [urgent.pk, early.pk, late.pk]


def test_a_machine_has_one_backup_at_a_time_but_a_restore_need_not_wait(site):
    (machine,) = site.add_machines(1)
    site.ask(machine)
    site.ask(machine, site.add_policy("Photos"))
    running = start(machine)
    assert not offer(machine)
    with without_tenant_scope("test"):
        Job.objects.create(
            tenant=site.tenant, kind="restore", subject="snapshot:x", dedupe_key="restore:x", machine=machine
        )
    assert [one.kind for one in offer(machine)] == ["restore"]
    agent_jobs.report(running.job_id, running.lease, "done")
    assert [one.kind for one in offer(machine)] == ["backup"]


def test_the_limits_of_tenant_group_and_target_hold_together(site):
    other = Site("south")
    servers = site.add_machines(6)
    rest = site.add_machines(6)
    group = site.add_group("Servers", servers)
    for one in site.machines:
        site.ask(one)
    for one in other.add_machines(6):
        other.ask(one)
    everybody = [*site.machines, *other.machines]
    limit(tenant=site.tenant, most_running=5)
    limit(tenant=site.tenant, group=group, most_running=2)
    limit(target="local", most_running=10)
    first = offer(*everybody)
    assert names(first) == {"north": 5, "south": 5}
    assert sum(one.machine_id in {machine.pk for machine in servers} for one in first) <= 2
    assert not offer(*everybody), "the target is full"
    for one in first:
        agent_jobs.accept(one.job_id, one.lease)
        agent_jobs.report(one.job_id, one.lease, "done")
    second = offer(*everybody)
    assert names(second) == {"north": 5, "south": 1}
    assert sum(one.machine_id in {machine.pk for machine in servers} for one in first + second) <= 4
    assert len(rest) == 6


def test_a_full_group_does_not_hold_up_the_rest_of_its_tenant(site):
    crowd = site.add_machines(20)
    limit(tenant=site.tenant, group=site.add_group("Servers", crowd), most_running=1)
    for one in crowd:
        site.ask(one, priority=10)
    (free,) = site.add_machines(1)
    site.ask(free)
    offer(*site.machines, limit=1)
    assert [one.machine_id for one in offer(*site.machines, limit=1)] == [free.pk]


def test_a_limit_says_for_what_it_is(site):
    for wrong in ({"tenant": None}, {"tenant": site.tenant, "target": "local"}):
        with pytest.raises(IntegrityError), transaction.atomic():
            limit(most_running=1, **wrong)
    limit(tenant=site.tenant, most_running=1)
    with pytest.raises(IntegrityError), transaction.atomic():
        limit(tenant=site.tenant, most_running=2)


def test_what_is_paused_revoked_too_late_or_not_due_is_not_offered(site):
    paused, revoked, late, early, ready = site.add_machines(5)
    now = timezone.now()
    site.ask(paused)
    site.ask(revoked)
    site.ask(late, deadline=now - timedelta(seconds=1))
    site.ask(early, due_at=now + timedelta(hours=1))
    site.ask(ready)
    with without_tenant_scope("test"):
        Machine.objects.filter(pk=paused.pk).update(paused_at=now)
        Machine.objects.filter(pk=revoked.pk).update(state="revoked")
    assert [one.machine_id for one in offer(*site.machines)] == [ready.pk]
    with without_tenant_scope("test"):
        Job.objects.update(state="queued", lease_owner="", next_attempt_at=now)
        Policy.objects.update(paused_at=now)
    assert not offer(*site.machines)


def test_machines_of_other_gateways_are_left_alone(site):
    mine, theirs = site.add_machines(2)
    site.ask(theirs)
    assert not offer(mine)
    assert not agent_jobs.next_offers([], "g", 10)
    assert not agent_jobs.next_offers([theirs.pk], "g", 0)


def test_statements_do_not_grow_with_machines(site, django_assert_max_num_queries):
    other = Site("south")
    for owner in (site, other):
        made = owner.add_machines(250)
        limit(tenant=owner.tenant, group=owner.add_group("All", made), most_running=100)
        limit(tenant=owner.tenant, most_running=200)
        with without_tenant_scope("as the tick does"):
            agent_jobs.request_backups([agent_jobs.Wanted(owner.policy, one) for one in made])
    everybody = [*site.machines, *other.machines]
    with django_assert_max_num_queries(12):
        offers = offer(*everybody, limit=500)
    assert names(offers) == {"north": 100, "south": 100}


@pytest.mark.django_db(transaction=True)
def test_two_gateways_at_once_share_and_keep_to_the_limit(transactional_db):
    site = Site("north")
    for one in site.add_machines(30):
        site.ask(one)
    limit(tenant=site.tenant, most_running=12)
    begin, found = threading.Barrier(4), []

    def ask(name: str) -> None:
        begin.wait(30)
        try:
            found.append(offer(*site.machines, limit=8, gateway=name))
        finally:
            connection.close()

    threads = [threading.Thread(target=ask, args=(f"g{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    given_out = [one.job_id for offers in found for one in offers]
    assert len(given_out) == len(set(given_out)) == 12
    assert {state(one) for one in given_out} == {"offered"}


tenants = [uuid4() for _ in range(3)]
counts = st.lists(st.integers(0, 6), min_size=3, max_size=3)


@given(waiting=counts, held=counts, limits=counts, number=st.integers(0, 12))
def test_shares_are_fair_complete_and_within_limits(waiting, held, limits, number):
    """Whatever the numbers: no limit is exceeded, nothing is left that could go, and nobody with more goes first."""
    rows = [
        Waiting(uuid4(), tenant, uuid4()) for tenant, many in zip(tenants, waiting, strict=True) for _ in range(many)
    ]
    room = Room(
        50, tenants=dict(zip(tenants, limits, strict=True)), held=Counter(dict(zip(tenants, held, strict=True)))
    )
    before = Counter(room.held)
    got = Counter(one.tenant_id for one in share_out(rows, room, number))
    spare = {
        tenant: min(many, max(0, most - before[tenant]))
        for tenant, many, most in zip(tenants, waiting, limits, strict=True)
    }
    assert all(got[tenant] <= spare[tenant] for tenant in tenants)
    assert got.total() == min(number, sum(spare.values()))
    for one in tenants:
        for other in tenants:
            if got[one] and got[other] < spare[other]:
                assert before[one] + got[one] <= before[other] + got[other] + 1
