"""Members that are limited to machine groups: what their queries see, in every kind of query, and what they may."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from django.db.models import Count
from django.utils import timezone

from backup_platform.catalog.models import Snapshot
from backup_platform.fleet.models import EnrollmentToken, GroupMembership, Machine, MachineGroup
from backup_platform.jobs.models import Job, JobLine
from backup_platform.policies.models import Plan, Policy
from backup_platform.tenants.access import Actor, can, check, may, visible_machines
from backup_platform.tenants.errors import OutOfReach
from backup_platform.tenants.models import Role, Tenant, User
from backup_platform.tenants.permissions import ALL, BUILT_IN
from backup_platform.tenants.rules import RULES
from backup_platform.tenants.scope import (
    ScopeError,
    current_tenant_id,
    tenant_scope,
    whole_tenant,
    without_tenant_scope,
)
from backup_platform.vaults.models import Vault


class Fleet:
    """One tenant with two groups, a machine in each, one in none, and what belongs to each of them."""

    def __init__(self) -> None:
        with without_tenant_scope("test data"):
            self.tenant = Tenant.objects.create(name="acme")
            self.vault = Vault.objects.create(
                id=uuid4(), number=1, tenant=self.tenant, name="main", record=b"", record_number=1,
                signing_key_hash=bytes(32),
            )  # fmt: skip
            self.mine, self.others = (
                MachineGroup.objects.create(tenant=self.tenant, name=name) for name in ("mine", "others")
            )
            self.inside, self.outside, self.loose = (
                self._machine(name, group) for name, group in (("in", self.mine), ("out", self.others), ("loose", None))
            )
        self.limits = frozenset({self.mine.pk})

    def _machine(self, name, group):
        machine = Machine.objects.create(
            tenant=self.tenant, vault=self.vault, name=name, identity_hash=name.encode().ljust(32), identity_key=b"",
            reading_key=b"", certificate=b"", certificate_until=timezone.now(),
        )  # fmt: skip
        if group is not None:
            GroupMembership.objects.create(tenant=self.tenant, group=group, machine=machine)
        job = Job.objects.create(tenant=self.tenant, kind="backup", subject=name, dedupe_key=name, machine=machine)
        JobLine.objects.create(job=job, text=name)
        policy = Policy.objects.create(tenant=self.tenant, name=f"policy of {name}")
        Plan.objects.create(tenant=self.tenant, policy=policy, machine=machine)
        EnrollmentToken.objects.create(
            tenant=self.tenant, vault=self.vault, token_hash=name.encode(), blob=b"", group=group,
            expires_at=timezone.now() + timedelta(hours=1),
        )  # fmt: skip
        return machine

    def scope(self):
        return tenant_scope(self.tenant, self.limits)

    def actor(self, role=Role.ADMIN, limits=True):
        user = User.objects.create_user(f"someone-{User.objects.count()}")
        return Actor(user, self.tenant, role, BUILT_IN[role], self.limits if limits else None)


@pytest.fixture
def fleet(db):
    return Fleet()


@pytest.mark.defence
@pytest.mark.parametrize(
    ("model", "name"),
    [(Machine, "name"), (Job, "subject"), (JobLine, "text"), (Policy, "name"), (Plan, "machine__name"),
     (GroupMembership, "machine__name"), (EnrollmentToken, "group__name"), (MachineGroup, "name")],
)  # fmt: skip
def test_only_what_belongs_to_the_groups_machines_is_seen(fleet, model, name):
    with fleet.scope():
        seen = set(model.objects.values_list(name, flat=True))
        assert model.objects.count() == len(seen) == 1
        assert {one.removeprefix("policy of ") for one in seen} <= {"in", "mine"}
        assert model.objects.aggregate(n=Count("pk"))["n"] == 1
        assert [len(list(model.objects.all())), len(model.objects.all()[:5])] == [1, 1]
        assert model.objects.filter(pk__in=model.objects.values("pk")).exists()
    with tenant_scope(fleet.tenant):
        assert model.objects.count() >= 2


def test_changes_touch_their_machines_only(fleet):
    with fleet.scope():
        assert Machine.objects.update(tags=["x"]) == 1
        assert Job.objects.filter(machine=fleet.outside).update(priority=5) == 0
        assert JobLine.objects.all().delete()[0] == 1
    with tenant_scope(fleet.tenant):
        assert Machine.objects.get(pk=fleet.outside.pk).tags == []
        assert JobLine.objects.count() == 2


def test_the_limit_holds_in_scopes_inside_and_is_lifted_by_name_only(fleet):
    with fleet.scope():
        with tenant_scope(fleet.tenant):
            assert Machine.objects.count() == 1
        with whole_tenant("the test counts all"):
            assert Machine.objects.count() == 3
            assert current_tenant_id() == fleet.tenant.pk
        assert Machine.objects.count() == 1
        with pytest.raises(ScopeError), whole_tenant(" "):
            pass
    with pytest.raises(ScopeError), whole_tenant("no scope to lift"):
        pass


def test_a_machine_that_leaves_the_group_is_gone_at_once(fleet):
    with tenant_scope(fleet.tenant):
        GroupMembership.objects.filter(machine=fleet.inside).delete()
    with fleet.scope():
        assert not Machine.objects.exists()
        assert not Policy.objects.exists()


def test_snapshots_of_other_machines_are_out_of_reach(fleet):
    with tenant_scope(fleet.tenant):
        made = [
            Snapshot.objects.create(
                id=uuid4(), tenant=fleet.tenant, vault=fleet.vault, machine=machine, sequence=1, statement=b"",
                statement_digest=machine.name.encode().ljust(32), root_hash=bytes(32), root_bytes=1, recipients=b"",
                blocks=b"", machine_time=timezone.now(), received_at=timezone.now(),
            )
            for machine in (fleet.inside, fleet.outside)
        ]  # fmt: skip
    actor = fleet.actor(Role.RESTORE_OPERATOR)
    check(actor, "restores.request", made[0])
    with pytest.raises(OutOfReach):
        check(actor, "restores.request", made[1])


def test_who_is_limited_acts_on_their_machines_and_reaches_no_further(fleet):
    actor = fleet.actor()
    assert can(actor, "machines.manage", fleet.inside)
    assert can(actor, "jobs.run", fleet.inside)
    for machine in (fleet.outside, fleet.loose):
        assert not can(actor, "machines.manage", machine)
        assert not can(actor, "machines.view", machine)
    assert not can(actor, "machines.manage", fleet.mine)
    assert not can(actor, "tenant.manage", fleet.tenant)
    assert can(actor, "machines.view", fleet.mine)
    with tenant_scope(fleet.tenant):
        seen = Policy.objects.get(plans__machine=fleet.inside)
        unseen = Policy.objects.get(plans__machine=fleet.outside)
    assert can(actor, "jobs.run", seen)
    assert not can(actor, "jobs.run", unseen)
    assert not can(actor, "policies.edit", seen)


def test_limited_members_write_to_nothing_that_reaches_beyond_their_machines(fleet):
    actor, whole = fleet.actor(), fleet.actor(limits=False)
    writes = {model for model, action in RULES if action != "view" and may(actor, action, model)}
    assert writes == {"fleet.Machine", "fleet.EnrollmentToken", "jobs.Job", "notifications.Alert"}
    for model in ("audit.Entry", "tenants.Member", "catalog.Pack"):
        assert may(whole, "view", model)
        assert not may(actor, "view", model)


def test_visible_machines_are_those_of_the_groups_even_without_the_scopes_limit(fleet):
    with tenant_scope(fleet.tenant):
        assert [machine.name for machine in visible_machines(fleet.actor())] == ["in"]
        assert visible_machines(fleet.actor(limits=False)).count() == 3
        assert not visible_machines(None).exists()
        blind = Actor(User.objects.create_user("blind"), fleet.tenant, None, ALL - {"machines.view"})
        assert not visible_machines(blind).exists()


def test_a_permission_that_does_not_exist_is_a_defect(fleet):
    with pytest.raises(ValueError, match="no permission"):
        can(fleet.actor(), "machines.burn")
