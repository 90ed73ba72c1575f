"""People give each other places and roles, within what they hold themselves; the audit says before and after."""

from __future__ import annotations

from threading import Barrier, Thread

import pytest
from django.db import connection

from backup_platform.audit.models import Entry
from backup_platform.audit.queries import check_chains
from backup_platform.fleet.models import MachineGroup
from backup_platform.tenants.access import actor_of
from backup_platform.tenants.errors import Forbidden, OutOfReach, PlaceRefused
from backup_platform.tenants.invitations import invite
from backup_platform.tenants.models import CustomRole, Member, MemberGroup, Role, Tenant, User
from backup_platform.tenants.people import delete_role, place_member, remove_place, save_role
from backup_platform.tenants.queries import memberships_of
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from backup_platform.tenants.services import set_requires_totp


def someone(tenant, name, role=Role.VIEWER, permissions=None):
    """A member, made without asking anybody, and their actor."""
    with without_tenant_scope("test data"):
        custom = None
        if permissions is not None:
            custom = CustomRole.objects.create(tenant=tenant, name=f"{name} role", permissions=permissions)
        user = User.objects.create_user(name)
        Member.objects.create(user=user, tenant=tenant, role=role, custom_role=custom)
    return actor_for(user)


def actor_for(user):
    return actor_of(user, memberships_of(user), None, None)


def place_of(actor):
    with without_tenant_scope("test"):
        return Member.objects.get(user=actor.user)


@pytest.fixture
def tenant(db):
    with without_tenant_scope("test data"):
        return Tenant.objects.create(name="acme")


@pytest.fixture
def admin(tenant):
    return someone(tenant, "anna", Role.ADMIN)


def last_line(tenant):
    with without_tenant_scope("test"):
        return Entry.objects.filter(tenant=tenant).order_by("id").last()


def test_a_place_is_given_and_changed_and_the_audit_says_before_and_after(admin, tenant):
    ben = User.objects.create_user("ben")
    place_member(admin, tenant, ben, role=Role.OPERATOR)
    assert last_line(tenant).detail == {"name": "ben", "before": None, "after": {"role": "operator", "groups": []}}
    with tenant_scope(tenant):
        group = MachineGroup.objects.create(tenant=tenant, name="Servers")
    place_member(admin, tenant, ben, role=Role.VIEWER, groups=[group])
    detail = last_line(tenant).detail
    assert detail["before"] == {"role": "operator", "groups": []}
    assert detail["after"] == {"role": "viewer", "groups": ["Servers"]}
    assert actor_for(ben).groups == {group.pk}
    with without_tenant_scope("test"):
        remove_place(admin, Member.objects.get(user=ben))
    assert last_line(tenant).verb == "member.removed"
    assert last_line(tenant).detail["before"] == {"role": "viewer", "groups": ["Servers"]}
    assert actor_for(ben) is None
    assert all(report.broken is None for report in check_chains())


@pytest.mark.defence
def test_nobody_gives_more_than_they_hold(tenant, admin):
    carla = someone(tenant, "carla", permissions=["members.view", "members.manage", "machines.view"])
    for victim in (carla.user, User.objects.create_user("friend")):
        with pytest.raises(PlaceRefused, match="more than you may yourself"):
            place_member(carla, tenant, victim, role=Role.ADMIN)
    with pytest.raises(PlaceRefused, match="more than you may yourself"):
        save_role(carla, tenant, "Helper", ["audit.view"])
    own = place_of(carla).custom_role_id
    with tenant_scope(tenant), pytest.raises(PlaceRefused, match="more than you may yourself"):
        save_role(carla, tenant, "Mine", ["machines.view", "tenant.manage"], CustomRole.objects.get(pk=own))
    save_role(carla, tenant, "Helper", ["machines.view"])
    assert place_of(carla).role == Role.VIEWER
    with tenant_scope(tenant):
        assert CustomRole.objects.get(pk=own).permissions == ["members.view", "members.manage", "machines.view"]


@pytest.mark.defence
def test_nobody_takes_from_somebody_who_holds_more(tenant, admin):
    someone(tenant, "second", Role.ADMIN)
    carla = someone(tenant, "carla", permissions=["members.manage"])
    with pytest.raises(PlaceRefused, match="more than you may yourself"):
        remove_place(carla, place_of(admin))
    with without_tenant_scope("test"):
        own = place_of(carla).custom_role
    with pytest.raises(PlaceRefused, match="more than you may yourself"):
        place_member(carla, tenant, admin.user, custom_role=own)


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.RESTORE_OPERATOR, Role.AUDITOR, Role.VIEWER])
def test_other_roles_manage_nobody(tenant, admin, role):
    actor = someone(tenant, "other", role)
    with pytest.raises(Forbidden, match="does not include"):
        place_member(actor, tenant, actor.user, role=Role.ADMIN)
    with pytest.raises(Forbidden):
        save_role(actor, tenant, "Mine", [])
    with pytest.raises(Forbidden):
        set_requires_totp(actor, tenant, wanted=True)


def test_another_tenants_people_and_roles_look_like_missing(admin, tenant):
    with without_tenant_scope("test data"):
        other = Tenant.objects.create(name="other")
    foreign = someone(other, "olga", permissions=["members.manage"])
    with pytest.raises(OutOfReach):
        remove_place(admin, place_of(foreign))
    with pytest.raises(OutOfReach):
        place_member(admin, other, admin.user, role=Role.ADMIN)
    with without_tenant_scope("test"):
        theirs = CustomRole.objects.get(tenant=other)
        group = MachineGroup.objects.create(tenant=other, name="theirs")
    with pytest.raises(PlaceRefused, match="another tenant"):
        place_member(admin, tenant, admin.user, custom_role=theirs)
    with pytest.raises(PlaceRefused, match="another tenant"):
        place_member(admin, tenant, User.objects.create_user("x"), groups=[group])
    with pytest.raises(OutOfReach):
        delete_role(admin, theirs)


@pytest.mark.defence
def test_the_last_administrator_stays(admin, tenant):
    with without_tenant_scope("test data"):
        group = MachineGroup.objects.create(tenant=tenant, name="some")
    boss = actor_of(User.objects.create_superuser("boss"), [], None, None)
    limited = {"role": Role.ADMIN, "groups": [group]}
    for actor in (admin, boss):
        for place in ({"role": Role.VIEWER}, limited):
            with pytest.raises(PlaceRefused, match="without an administrator"):
                place_member(actor, tenant, admin.user, **place)
        with pytest.raises(PlaceRefused, match="without an administrator"):
            remove_place(actor, place_of(admin))
    second = someone(tenant, "second", Role.ADMIN)
    place_member(admin, tenant, admin.user, role=Role.VIEWER)
    with pytest.raises(PlaceRefused, match="without an administrator"):
        remove_place(second, place_of(second))


@pytest.mark.django_db(transaction=True)
def test_of_two_administrators_who_demote_each_other_at_once_one_stays():
    with without_tenant_scope("test data"):
        tenant = Tenant.objects.create(name="acme")
    pair = [someone(tenant, "one", Role.ADMIN), someone(tenant, "two", Role.ADMIN)]
    gate, outcomes = Barrier(2), []

    def demote(by, other):
        gate.wait(10)
        try:
            place_member(by, tenant, other.user, role=Role.VIEWER)
            outcomes.append("done")
        except PlaceRefused:
            outcomes.append("refused")
        finally:
            connection.close()

    threads = [Thread(target=demote, args=pair), Thread(target=demote, args=pair[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == ["done", "refused"]


def test_who_is_limited_to_groups_manages_nobody(admin, tenant):
    with without_tenant_scope("test data"):
        group = MachineGroup.objects.create(tenant=tenant, name="some")
    ben = User.objects.create_user("ben")
    place_member(admin, tenant, ben, role=Role.ADMIN, groups=[group])
    limited = actor_for(ben)
    with pytest.raises((Forbidden, OutOfReach)):
        place_member(limited, tenant, ben, role=Role.ADMIN)
    with pytest.raises((Forbidden, OutOfReach)):
        set_requires_totp(limited, tenant, wanted=True)


def test_roles_are_made_changed_and_deleted_when_nobody_has_them(admin, tenant):
    role = save_role(admin, tenant, "Night shift", ["jobs.view", "jobs.run"])
    ben = User.objects.create_user("ben")
    place_member(admin, tenant, ben, custom_role=role)
    assert actor_for(ben).permissions == {"jobs.view", "jobs.run"}
    save_role(admin, tenant, "Night shift", ["jobs.view"], role)
    assert actor_for(ben).permissions == {"jobs.view"}
    assert last_line(tenant).detail["before"]["permissions"] == ["jobs.run", "jobs.view"]
    with pytest.raises(PlaceRefused, match="still somebody's role"):
        delete_role(admin, role)
    place_member(admin, tenant, ben, role=Role.VIEWER)
    delete_role(admin, role)
    assert last_line(tenant).verb == "role.deleted"


@pytest.mark.parametrize(
    ("name", "permissions", "why"),
    [("", [], "needs a name"), ("x" * 61, [], "needs a name"), ("viewer", [], "built-in"),
     ("taken", [], "already"), ("fine", ["machines.burn"], "no permission")],
)  # fmt: skip
def test_bad_roles_are_refused_with_a_reason(admin, tenant, name, permissions, why):
    save_role(admin, tenant, "taken", [])
    with pytest.raises(PlaceRefused, match=why):
        save_role(admin, tenant, name, permissions)


def test_a_row_cannot_hold_a_permission_that_does_not_exist(tenant):
    actor = someone(tenant, "ben", permissions=["machines.view", "platform.everything", 7, None])
    assert actor.permissions == {"machines.view"}


def test_an_invited_person_gets_a_one_time_password_and_a_place(admin, tenant):
    invited = invite(admin, tenant, "dora.acme", "dora@example.org", role=Role.OPERATOR)
    dora = User.objects.get(username="dora.acme")
    assert dora.check_password(invited.password)
    assert dora.must_change_password
    assert actor_for(dora).role == Role.OPERATOR
    with pytest.raises(PlaceRefused, match="taken"):
        invite(admin, tenant, "dora.acme", "")
    with pytest.raises(PlaceRefused):
        invite(admin, tenant, "no spaces allowed", "")
    with pytest.raises(PlaceRefused, match="email"):
        invite(admin, tenant, "erik", "no address")


def test_a_refused_invitation_leaves_no_account(tenant, admin):
    carla = someone(tenant, "carla", permissions=["members.manage"])
    with pytest.raises(PlaceRefused):
        invite(carla, tenant, "friend", "", role=Role.ADMIN)
    assert not User.objects.filter(username="friend").exists()


def test_a_group_that_limits_somebody_cannot_disappear(admin, tenant):
    """Else the member would see every machine all at once."""
    from django.db.models import ProtectedError

    with tenant_scope(tenant):
        group = MachineGroup.objects.create(tenant=tenant, name="some")
        place_member(admin, tenant, User.objects.create_user("ben"), groups=[group])
        with pytest.raises(ProtectedError):
            group.delete()
        assert MemberGroup.objects.count() == 1
