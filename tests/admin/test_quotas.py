"""Quotas in the admin, on the dashboard and in the API: set by superusers, seen by the tenant, not by parts of it."""

from __future__ import annotations

import pytest
from django.urls import reverse

from backup_platform.audit.models import Entry
from backup_platform.fleet.models import MachineGroup
from backup_platform.tenants.models import Member, MemberGroup, Tenant, User
from backup_platform.tenants.scope import without_tenant_scope
from tests.tenants.counted import set_quota

MIB, GIB = 2**20, 2**30


def address(world) -> str:
    return reverse("admin:tenants_tenant_change", args=[world.tenant.pk])


def quotas(world) -> tuple[int | None, int | None]:
    with without_tenant_scope("test"):
        tenant = Tenant.objects.get(pk=world.tenant.pk)
    return tenant.quota_bytes, tenant.quota_machines


def lines(world) -> list[str]:
    with without_tenant_scope("test"):
        return list(Entry.objects.filter(tenant=world.tenant).order_by("id").values_list("verb", flat=True))


def limit(world) -> None:
    """The world's member sees the machines of one group only."""
    with without_tenant_scope("test"):
        group = MachineGroup.objects.create(tenant=world.tenant, name="some")
        MemberGroup.objects.create(member=world.member, group=group)


def test_a_superuser_sets_them_in_the_tenants_form_and_the_audit_has_a_line(boss, worlds):
    ours, theirs = worlds
    page = boss.get(address(ours)).content.decode()
    assert "Quota of stored data, GiB" in page
    assert "64.0 MiB; no quota" in page
    sent = boss.post(address(ours), {"quota_gib": "1.5", "quota_machines": "20"})
    assert sent.status_code == 302, sent.content.decode()
    assert quotas(ours) == (3 * GIB // 2, 20)
    assert quotas(theirs) == (None, None)
    assert lines(ours)[-1] == "tenant.quota_set"
    boss.post(address(ours), {"quota_gib": "", "quota_machines": ""})
    assert quotas(ours) == (None, None)


def test_what_was_not_touched_stays_to_the_byte(boss, worlds):
    ours, _ = worlds
    set_quota(ours.tenant.pk, GIB + 12_345)
    before = len(lines(ours))
    boss.post(address(ours), {"quota_gib": "1.000", "quota_machines": "", "requires_totp": "on"})
    assert quotas(ours) == (GIB + 12_345, None)
    assert lines(ours)[before:] == ["tenant.changed"]


@pytest.mark.parametrize("given", ["0", "-1", "a lot", "0.0001", "9" * 30])
def test_a_figure_that_is_no_quota_is_refused_on_the_page(boss, worlds, given):
    ours, _ = worlds
    answer = boss.post(address(ours), {"quota_gib": given, "quota_machines": ""})
    assert answer.status_code == 200, "the form comes back"
    assert quotas(ours) == (None, None)


@pytest.mark.defence
def test_the_tenants_own_administrator_sees_them_and_cannot_set_them(member, worlds):
    ours, _ = worlds
    set_quota(ours.tenant.pk, 100 * MIB, machines=3)
    page = member.get(address(ours)).content.decode()
    assert "64.0 MiB of 100 MiB (64 %)" in page
    assert "1 of 3" in page
    assert "quota_gib" not in page
    member.post(address(ours), {"quota_gib": "500", "quota_machines": "500", "requires_totp": ""})
    assert quotas(ours) == (100 * MIB, 3)
    assert "tenant.quota_set" not in lines(ours)


def test_staff_that_only_looks_cannot_set_them(sign_in, worlds):
    ours, _ = worlds
    looks = sign_in(User.objects.create_user("looks", is_staff=True))
    assert "no quota" in looks.get(address(ours)).content.decode()
    assert looks.post(address(ours), {"quota_gib": "5", "quota_machines": ""}).status_code == 403
    assert quotas(ours) == (None, None)


def test_the_dashboard_says_how_much_of_the_quota_is_used(member, worlds):
    ours, _ = worlds
    assert "sealed packs" in member.get("/admin/").content.decode()
    set_quota(ours.tenant.pk, 64 * MIB + 1)
    page = member.get("/admin/").content.decode()
    assert "99 % of the quota of 64.0 MiB" in page
    assert "sr-text-warning" in page
    set_quota(ours.tenant.pk, 64 * MIB)
    page = member.get("/admin/").content.decode()
    assert "100 % of the quota" in page
    assert "sr-text-bad" in page


def test_the_api_gives_usage_and_quotas_of_the_tenant_in_force(member, boss, worlds):
    ours, _ = worlds
    nothing = {"stored_bytes": 64 * MIB, "quota_bytes": None, "full": False, "machines": 1, "quota_machines": None}
    assert member.get("/api/v1/usage/").json() == nothing
    set_quota(ours.tenant.pk, 64 * MIB, machines=1)
    assert member.get("/api/v1/usage/").json() == {
        **nothing, "quota_bytes": 64 * MIB, "full": True, "quota_machines": 1,
    }  # fmt: skip
    assert boss.get("/api/v1/usage/").status_code == 404, "of which tenant?"
    assert member.post("/api/v1/usage/", {}).status_code == 405


def test_members_of_some_groups_do_not_see_what_the_whole_tenant_uses(member, worlds):
    ours, _ = worlds
    set_quota(ours.tenant.pk, 100 * MIB, machines=3)
    limit(ours)
    assert member.get("/api/v1/usage/").status_code == 404
    assert "64.0 MiB" not in member.get(address(ours)).content.decode()
    assert "of the quota" not in member.get("/admin/").content.decode()


def test_a_stranger_and_a_visitor_read_no_usage(stranger, client, db):
    for who in (stranger, client):
        assert who.get("/api/v1/usage/").status_code in {401, 403, 404}


def test_an_enrolment_beyond_the_quota_of_machines_is_refused_with_a_sentence(worlds):
    from backup_platform.fleet.errors import TermsRefused
    from backup_platform.fleet.models import EnrollmentToken
    from backup_platform.fleet.tokens import create_token
    from tests.gateway.stage import BLOB

    ours, _ = worlds
    set_quota(ours.tenant.pk, None, machines=1)
    with pytest.raises(TermsRefused, match="may have 1 machine and has as many"):
        create_token(ours.vault, bytes(32), BLOB, actor="tests")
    with without_tenant_scope("test"):
        assert EnrollmentToken.objects.filter(tenant=ours.tenant).count() == 1
        assert Member.objects.filter(tenant=ours.tenant).exists()
