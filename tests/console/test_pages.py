"""Doors, headers, the choice of a tenant, one-time passwords, the dashboard."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from backup_platform.audit.models import Entry
from backup_platform.catalog.models import Session, Snapshot, SnapshotState
from backup_platform.console.dashboard import Facts, judge
from backup_platform.fleet.models import Machine
from backup_platform.jobs.models import WorkerBeat
from backup_platform.tenants.models import Member, Role, User
from backup_platform.tenants.scope import without_tenant_scope


def dashboard(client) -> str:
    answer = client.get("/admin/")
    assert answer.status_code == 200
    return answer.content.decode()


def test_the_front_door_leads_to_the_dashboard_by_way_of_the_sign_in(client, boss):
    assert client.get("/")["Location"] == "/admin/"
    assert client.get("/admin/")["Location"].startswith("/admin/login/")
    assert boss.get("/admin/").status_code == 200


def test_signing_in_with_a_password_works(client, worlds):
    answer = client.post(
        "/admin/login/", {"username": "ours-admin", "password": "a password of ours", "next": "/admin/"}
    )
    assert answer.status_code == 302
    assert "ours-machine" in dashboard(client)
    client.post("/admin/logout/")
    with without_tenant_scope("test"):
        verbs = list(Entry.objects.filter(actor="user ours-admin").order_by("id").values_list("verb", flat=True))
    assert verbs == ["user.signed_in", "user.signed_out"]
    assert client.get("/admin/").status_code == 302


@pytest.mark.parametrize("address", ["/admin/login/", "/healthz", "/admin/", "/tenant/", "/api/v1/machines/"])
def test_every_answer_has_the_headers(boss, address):
    headers = boss.get(address).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "'unsafe-inline'" not in re.search(r"script-src[^;]*", policy).group()
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"
    assert "no-store" in headers["Cache-Control"]


def test_no_page_has_inline_scripts_or_asks_other_hosts(boss, worlds):
    for address in ("/admin/login/", "/admin/", "/tenant/", reverse("admin:catalog_snapshot_changelist"),
                    reverse("admin:fleet_machine_change", args=[worlds[0].machine.pk])):  # fmt: skip
        page = boss.get(address, follow=True).content.decode()
        assert re.findall(r"<script(?![^>]*\bsrc=)[^>]*>", page) == [], address
        assert re.findall(r"\son[a-z]+=", page) == [], address
        assert re.findall(r"""(?:src|href)=["'](?:https?:)?//[^"']+""", page) == [], address


def test_staff_see_all_tenants_or_the_one_they_chose(boss, worlds):
    ours, _ = worlds
    everything = dashboard(boss)
    assert "ours-machine" in everything
    assert "theirs-machine" in everything
    assert "All tenants" in everything
    boss.post("/tenant/", {"tenant": str(ours.tenant.pk)})
    narrowed = dashboard(boss)
    assert "ours-machine" in narrowed
    assert "theirs-machine" not in narrowed
    boss.post("/tenant/", {"tenant": ""})
    assert "theirs-machine" in dashboard(boss)


def test_members_choose_among_their_own_tenants_only(member, worlds):
    ours, theirs = worlds
    assert member.post("/tenant/", {"tenant": str(theirs.tenant.pk)}).status_code == 403
    assert "theirs" not in dashboard(member)
    session = member.session
    session["tenant"] = str(theirs.tenant.pk)  # a session from before a membership ended
    session.save()
    assert "theirs" not in dashboard(member)
    with without_tenant_scope("test"):
        Member.objects.create(user=ours.member.user, tenant=theirs.tenant, role=Role.VIEWER)
    assert "theirs-machine" in dashboard(member)
    member.post("/tenant/", {"tenant": str(ours.tenant.pk)})
    assert "theirs-machine" not in dashboard(member)


def test_who_belongs_nowhere_gets_no_page(stranger):
    assert stranger.get("/admin/").status_code == 302
    assert stranger.get("/tenant/").status_code == 403
    assert stranger.get("/api/v1/machines/").status_code == 403


def test_a_one_time_password_opens_nothing_but_the_change_of_itself(sign_in, worlds):
    user = User.objects.create_superuser("first", password="one-time-password", must_change_password=True)
    client = sign_in(user)
    change = reverse("admin:password_change")
    for address in ("/admin/", "/tenant/", reverse("admin:tenants_user_changelist")):
        assert client.get(address)["Location"] == change
        assert client.post(address)["Location"] == change
    assert client.get("/api/v1/machines/").status_code == 403
    assert client.get("/metrics").status_code == 403
    assert client.get(change).status_code == 200
    same = {"old_password": "one-time-password", "new_password1": "one-time-password",
            "new_password2": "one-time-password"}  # fmt: skip
    assert "Choose a new one" in client.post(change, same).content.decode()
    fresh = same | {"new_password1": "quite another one", "new_password2": "quite another one"}
    assert client.post(change, fresh).status_code == 302
    assert client.get("/admin/").status_code == 200
    with without_tenant_scope("test"):
        assert Entry.objects.filter(verb="user.password_changed").count() == 1


def test_the_dashboard_says_when_no_worker_is_at_work(boss):
    assert "No worker is at work" not in dashboard(boss)
    WorkerBeat.objects.update(seen_at=timezone.now() - timedelta(minutes=3))
    assert "No worker is at work" in dashboard(boss)


def test_the_dashboard_shows_sizes_states_and_links(boss, worlds):
    page = dashboard(boss)
    assert "5.0 GiB" in page
    assert "sr-state-received" in page
    assert f"/admin/catalog/snapshot/{worlds[0].snapshot.pk}/change/" in page


def test_the_dashboard_costs_a_bounded_number_of_queries(boss, worlds, django_assert_max_num_queries):
    with django_assert_max_num_queries(30):
        boss.get("/admin/")


def test_an_empty_platform_shows_the_first_steps(sign_in, db):
    page = dashboard(sign_in(User.objects.create_superuser("boss", password="x")))
    assert "No machine is enrolled yet" in page
    for wanted in ("create_tenant NAME --kit DIR", "strongroom enroll", reverse("admin:fleet_enrollmenttoken_add"),
                   reverse("admin:policies_policy_add")):  # fmt: skip
        assert wanted in page, wanted
    assert ">done<" not in page


def test_the_first_steps_say_what_is_done_and_offer_nothing_that_one_may_not_do(sign_in, worlds):
    ours, _ = worlds
    with without_tenant_scope("test"):
        Session.objects.all().delete()
        Snapshot.objects.all().delete()
        Machine.objects.update(state="decommissioned")
    page = dashboard(sign_in(ours.member.user))
    assert page.count(">done<") == 2, "there is a vault, and an enrolment"
    assert "strongroom vault create --out kit" in page
    with without_tenant_scope("test"):
        Member.objects.update(role=Role.VIEWER)
    page = dashboard(sign_in(ours.member.user))
    assert reverse("admin:policies_policy_add") not in page
    assert "Ask an operator of your tenant" in page


GOOD = Facts(machines=3, online=3, revoked=0, behind=0, without=0, damaged=0, waiting=0, verified=9, failed_jobs=0,
             running=0)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "worker", "tone", "sentence"),
    [
        ({}, True, "good", "Everything is backed up and verified."),
        ({"waiting": 1}, True, "busy", "1 snapshot is being verified."),
        ({"running": 2}, True, "busy", "2 backups are running now."),
        ({"without": 1}, True, "warning", "1 machine has no snapshot yet."),
        ({"behind": 2}, True, "warning", "2 machines have no snapshot of the last day."),
        ({"failed_jobs": 1, "behind": 2}, True, "warning", "1 job failed in the last day."),
        ({"waiting": 1}, False, "bad", "New snapshots are stored, but nobody verifies them."),
        ({"machines": 0}, False, "empty", "No machine is enrolled yet."),
        ({"damaged": 1, "machines": 0}, False, "bad", "1 snapshot is damaged."),
    ],
)
def test_the_verdict_says_the_worst_first(changes, worker, tone, sentence):
    verdict = judge(Facts(**vars(GOOD) | changes), worker_at_work=worker)
    assert (verdict.tone, verdict.sentence) == (tone, sentence)


def test_the_dashboard_finds_what_is_behind(boss, worlds):
    with without_tenant_scope("test"):
        Snapshot.objects.update(state=SnapshotState.VERIFIED, received_at=timezone.now() - timedelta(days=3))
        Session.objects.update(lease_until=timezone.now() - timedelta(days=3))
    assert "2 machines have no snapshot of the last day." in dashboard(boss)
    with without_tenant_scope("test"):
        Machine.objects.update(state="revoked")
    assert "have no snapshot" not in dashboard(boss)


@pytest.mark.parametrize(("address", "status", "words"), [
    ("/nothing/", 404, "There is nothing here"),
    ("/admin/tenants/user/", 403, "You may not do this"),
])  # fmt: skip
def test_faults_have_a_page_that_says_what_to_do(member, address, status, words):
    answer = member.get(address)
    assert answer.status_code == status
    assert words in answer.content.decode()
    assert "Traceback" not in answer.content.decode()
