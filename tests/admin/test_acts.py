"""What people may do in the admin, who may, and that it is audited."""

from __future__ import annotations

import re

import pytest
from django.urls import reverse

from backup_platform.audit.models import Entry
from backup_platform.fleet.models import EnrollmentToken, Machine, MachineState
from backup_platform.tenants.models import CustomRole, Member, Role, Tenant, User
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope


def verbs(tenant=None):
    with without_tenant_scope("test"):
        lines = Entry.objects.filter(tenant=tenant).exclude(verb__startswith="user.signed_")
        return list(lines.order_by("id").values_list("verb", flat=True))


def revoke_url(machine):
    return reverse("admin:fleet_machine_revoke", args=[machine.pk])


def test_revoking_asks_first_and_is_audited(member, worlds):
    ours, _ = worlds
    assert "not be able to connect" in member.get(revoke_url(ours.machine)).content.decode()
    with tenant_scope(ours.tenant):
        assert Machine.objects.get().state == MachineState.ACTIVE
    assert member.post(revoke_url(ours.machine)).status_code == 302
    with tenant_scope(ours.tenant):
        assert Machine.objects.get().state == MachineState.REVOKED
    assert verbs(ours.tenant)[-1] == "machine.revoked"


def test_a_waiting_machine_is_approved_after_its_fingerprint_was_shown(member, worlds):
    ours, _ = worlds
    with tenant_scope(ours.tenant):
        Machine.objects.update(state=MachineState.PENDING)
    address = reverse("admin:fleet_machine_approve", args=[ours.machine.pk])
    digits = bytes(ours.machine.identity_hash).hex()
    assert f"{digits[:4]} {digits[4:8]}" in member.get(address).content.decode()
    assert address in member.get(reverse("admin:fleet_machine_change", args=[ours.machine.pk])).content.decode()
    member.post(address)
    with tenant_scope(ours.tenant):
        assert Machine.objects.get().state == MachineState.ACTIVE
    assert verbs(ours.tenant)[-1] == "machine.approved"
    assert "does not wait" in member.post(address, follow=True).content.decode()


def test_decommissioning_asks_why(member, worlds):
    ours, _ = worlds
    address = reverse("admin:fleet_machine_decommission", args=[ours.machine.pk])
    assert "Say why" in member.post(address, {"reason": " "}, follow=True).content.decode()
    member.post(address, {"reason": "sold"})
    with tenant_scope(ours.tenant):
        assert Machine.objects.get().state == MachineState.DECOMMISSIONED
        assert Entry.objects.get(verb="machine.decommissioned").detail["reason"] == "sold"


def test_backups_of_a_machine_are_paused_and_resumed(member, worlds):
    ours, _ = worlds
    for act, paused in (("pause", True), ("go_on", False)):
        member.post(reverse(f"admin:fleet_machine_{act}", args=[ours.machine.pk]))
        with tenant_scope(ours.tenant):
            assert (Machine.objects.get().paused_at is not None) == paused
    assert verbs(ours.tenant)[-2:] == ["machine.paused", "machine.resumed"]


def test_another_tenants_machine_cannot_be_revoked(member, worlds):
    assert member.post(revoke_url(worlds[1].machine)).status_code == 404
    assert member.post(reverse("admin:fleet_enrollmenttoken_withdraw", args=[worlds[1].token.pk])).status_code == 404
    with tenant_scope(worlds[1].tenant):
        assert Machine.objects.get().state == MachineState.ACTIVE
        assert EnrollmentToken.objects.get().uses_left == 1


@pytest.mark.parametrize("role", [Role.VIEWER, Role.AUDITOR, Role.RESTORE_OPERATOR])
def test_roles_that_only_look_cannot_act(sign_in, worlds, role):
    ours, _ = worlds
    with tenant_scope(ours.tenant):
        Member.objects.update(role=role)
    client = sign_in(ours.member.user)
    assert client.post(revoke_url(ours.machine)).status_code == 403
    assert client.post(reverse("admin:fleet_enrollmenttoken_withdraw", args=[ours.token.pk])).status_code in {403, 404}
    with tenant_scope(ours.tenant):
        assert Machine.objects.get().state == MachineState.ACTIVE


@pytest.mark.defence
def test_a_viewer_opens_neither_audit_nor_members_nor_packs(sign_in, worlds):
    ours, _ = worlds
    with tenant_scope(ours.tenant):
        Member.objects.update(role=Role.VIEWER)
    client = sign_in(ours.member.user)
    for page in ("audit_entry", "tenants_member", "catalog_pack", "fleet_enrollmenttoken"):
        assert client.get(reverse(f"admin:{page}_changelist")).status_code == 403, page
    assert client.get(reverse("admin:fleet_machine_changelist")).status_code == 200


def test_staff_without_superuser_looks_at_everything_and_changes_nothing(sign_in, worlds):
    client = sign_in(User.objects.create_user("support", is_staff=True))
    assert client.get(reverse("admin:fleet_machine_changelist")).status_code == 200
    assert client.post(revoke_url(worlds[0].machine)).status_code == 403
    assert client.get(reverse("admin:tenants_tenant_add")).status_code == 403


def test_withdrawing_an_enrolment_empties_its_blob(member, worlds):
    ours, _ = worlds
    address = reverse("admin:fleet_enrollmenttoken_withdraw", args=[ours.token.pk])
    assert member.get(address).status_code == 200
    member.post(address)
    with tenant_scope(ours.tenant):
        token = EnrollmentToken.objects.get()
    assert (token.uses_left, bytes(token.blob)) == (0, b"")
    assert verbs(ours.tenant)[-1] == "enrollment.withdrawn"


def test_a_tenants_admin_sets_roles_of_their_own_members_only(member, worlds):
    ours, theirs = worlds
    with without_tenant_scope("test data"):
        other = Member.objects.create(user=User.objects.create_user("other"), tenant=ours.tenant, role=Role.OPERATOR)
    own = reverse("admin:tenants_member_change", args=[other.pk])
    foreign = reverse("admin:tenants_member_change", args=[theirs.member.pk])
    smuggled = {"place": Role.VIEWER, "tenant": str(theirs.tenant.pk), "user": "1"}
    assert member.post(foreign, smuggled).status_code == 302
    assert member.post(own, smuggled).status_code == 302
    with without_tenant_scope("test"):
        assert Member.objects.get(pk=other.pk).role == Role.VIEWER
        assert Member.objects.get(pk=other.pk).tenant_id == ours.tenant.pk
        assert Member.objects.get(pk=theirs.member.pk).role == Role.ADMIN
    assert verbs(ours.tenant)[-1] == "member.set"


def test_a_tenants_admin_adds_a_person_and_sees_the_password_once(member, worlds):
    address = reverse("admin:tenants_member_add")
    page = member.post(address, {"username": "dora.ours", "email": "d@example.org", "place": Role.VIEWER})
    assert page.status_code == 200
    password = re.search(r"sr-secret\">([a-z0-9-]+)<", page.content.decode()).group(1)
    assert User.objects.get(username="dora.ours").check_password(password)
    assert password not in member.get(reverse("admin:tenants_member_changelist")).content.decode()
    again = member.post(address, {"username": "dora.ours", "place": Role.VIEWER}, follow=True)
    assert "is taken" in again.content.decode()


def test_what_a_service_refuses_is_a_sentence_on_the_page(member, worlds):
    ours, _ = worlds
    own = reverse("admin:tenants_member_change", args=[ours.member.pk])
    assert "without an administrator" in member.post(own, {"place": Role.VIEWER}, follow=True).content.decode()
    gone = reverse("admin:tenants_member_delete", args=[ours.member.pk])
    assert "without an administrator" in member.post(gone, {"post": "yes"}, follow=True).content.decode()
    with tenant_scope(ours.tenant):
        assert Member.objects.get().role == Role.ADMIN


def test_a_custom_role_is_made_of_checkboxes_and_given(member, worlds):
    ours, _ = worlds
    add = reverse("admin:tenants_customrole_add")
    page = member.get(add).content.decode()
    assert "Run backups now, cancel, retry, pause machines" in page
    assert member.post(add, {"name": "Night", "rights": ["jobs.view", "jobs.run"]}).status_code == 302
    with tenant_scope(ours.tenant):
        role = CustomRole.objects.get()
        other = Member.objects.create(user=User.objects.create_user("other"), tenant=ours.tenant)
    assert (role.tenant_id, role.permissions) == (ours.tenant.pk, ["jobs.run", "jobs.view"])
    member.post(reverse("admin:tenants_member_change", args=[other.pk]), {"place": str(role.pk)})
    with tenant_scope(ours.tenant):
        assert Member.objects.get(pk=other.pk).custom_role == role
    assert verbs(ours.tenant)[-2:] == ["role.created", "member.set"]


def test_the_platform_makes_tenants_members_and_users_with_an_audit(boss, worlds):
    boss.post(reverse("admin:tenants_tenant_add"), {"name": "new"})
    with without_tenant_scope("test"):
        tenant = Tenant.objects.get(name="new")
    assert verbs(tenant) == ["tenant.created"]
    password = {"password1": "a long new password", "password2": "a long new password", "usable_password": "true"}
    boss.post(reverse("admin:tenants_user_add"), {"username": "new", **password})
    user = User.objects.get(username="new")
    boss.post(reverse("admin:tenants_member_add"), {"user": user.pk, "tenant": str(tenant.pk), "place": Role.VIEWER})
    with tenant_scope(tenant):
        member = Member.objects.get(user=user)
    boss.post(reverse("admin:tenants_member_delete", args=[member.pk]), {"post": "yes"})
    assert verbs(tenant) == ["tenant.created", "member.set", "member.removed"]
    assert verbs() == ["user.added"]


def test_changing_somebodys_password_is_audited(boss, worlds):
    user = worlds[0].member.user
    password = {"password1": "a long new password", "password2": "a long new password", "usable_password": "true"}
    assert boss.post(reverse("admin:auth_user_password_change", args=[user.pk]), password).status_code == 302
    user.refresh_from_db()
    assert user.check_password("a long new password")
    assert user.must_change_password
    assert verbs() == ["user.password_set"]
