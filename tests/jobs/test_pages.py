"""The pages of jobs: live figures without false bars, causes with advice, and acts that ask first and check roles."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse

from backup_platform.audit.models import Entry
from backup_platform.jobs import agent_jobs, live
from backup_platform.jobs.models import Job, JobLimits
from backup_platform.tenants.models import CustomRole, Member, Role, User
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from tests.jobs.machines import Site, job, start, state

PROGRESS = {"phase": "saving", "bytes_done": 42 * 2**20, "bytes_total": 100 * 2**20, "files_done": 7,
            "rate": 2**20, "remaining": 58}  # fmt: skip


@pytest.fixture
def site(db) -> Site:
    site = Site("north")
    site.add_machines(2)
    return site


def sign_in(site: Site, role: str = Role.ADMIN) -> Client:
    user = User.objects.create_user(f"{role}-{site.name}")
    with tenant_scope(site.tenant):
        Member.objects.create(user=user, tenant=site.tenant, role=role)
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def client(site) -> Client:
    return sign_in(site)


@pytest.fixture
def running(site):
    site.ask(site.machines[0])
    offered = start(site.machines[0])
    agent_jobs.progress([(offered.job_id, offered.lease, PROGRESS)])
    return offered


def page(name: str, *args) -> str:
    return reverse(f"admin:jobs_job_{name}", args=args)


def test_a_running_jobs_page_shows_figures_and_asks_for_more(client, running):
    agent_jobs.add_lines(running.job_id, running.lease, [{"level": "warning", "text": "<b>not allowed</b>"}])
    shown = client.get(page("change", running.job_id)).content.decode()
    for wanted in ("42.0 MiB of 100 MiB", "1.0 MiB/s", "about 58 s", "Saving", 'value="42"', "every 3s",
                   "&lt;b&gt;not allowed&lt;/b&gt;"):  # fmt: skip
        assert wanted in shown, wanted
    fragment = client.get(page("live", running.job_id)).content.decode()
    assert 'id="job-live"' in fragment
    assert "<html" not in fragment
    agent_jobs.report(running.job_id, running.lease, "failed", message="no such directory", advice="Make it.")
    ended = client.get(page("live", running.job_id)).content.decode()
    assert "no such directory" in ended
    assert "Make it." in ended
    assert "hx-get" not in ended, "nothing moves any more"


def test_the_list_moves_while_something_runs_and_then_stops_asking(client, site, running):
    listed = client.get(page("changelist")).content.decode()
    assert f'id="job-progress-{running.job_id}"' in listed
    assert "every 5s" in listed
    address = page("live_cells") + f"?ids={running.job_id.hex},nonsense,"
    moving = client.get(address)
    assert moving.status_code == 200
    assert "hx-swap-oob" in moving.content.decode()
    agent_jobs.report(running.job_id, running.lease, "done")
    assert client.get(address).status_code == 286


@pytest.mark.parametrize(
    ("progress", "percent"),
    [
        ({}, None),
        ({"phase": "scanning", "bytes_done": 5, "bytes_total": 10}, None),
        ({"phase": "saving", "bytes_done": 0, "bytes_total": 10}, None),
        ({"phase": "saving", "bytes_done": 5}, None),
        ({"phase": "saving", "bytes_done": 10, "bytes_total": 10}, None),
        ({"phase": "finishing", "bytes_done": 10, "bytes_total": 10}, None),
        ({"phase": "saving", "bytes_done": 1, "bytes_total": 10_000}, 1),
        ({"phase": "restoring", "bytes_done": 9_999, "bytes_total": 10_000}, 99),
    ],
)
def test_a_bar_never_stands_at_nought_or_at_the_end(site, progress, percent):
    shown = live.show(Job(kind="backup", state="running", machine=site.machines[0], progress=progress))
    assert shown.percent == percent
    assert shown.words


def test_cancelling_asks_first_needs_the_role_and_is_audited(site, client, running):
    address = page("cancel_job", running.job_id)
    viewer = sign_in(site, Role.VIEWER)
    assert viewer.get(page("change", running.job_id)).status_code == 200
    assert viewer.post(address).status_code == 403
    assert "Cancel it" in client.get(address).content.decode()
    assert state(running.job_id) == "running"
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = client.cookies
    assert strict.post(address).status_code == 403
    assert client.post(address).status_code == 302
    assert state(running.job_id) == "cancelling"
    with tenant_scope(site.tenant):
        assert Entry.objects.latest("id").verb == "job.cancelled"


def test_a_failed_job_is_tried_again_from_its_page_and_all_of_them_from_the_list(site, client, running):
    agent_jobs.report(running.job_id, running.lease, "failed")
    assert client.post(page("retry_job", running.job_id)).status_code == 302
    again = start(site.machines[0])
    assert again.job_id != running.job_id
    agent_jobs.report(again.job_id, again.lease, "failed")
    assert page("retry_failed_jobs") in client.get(page("changelist")).content.decode()
    assert "past week" in client.get(page("retry_failed_jobs")).content.decode()
    assert client.post(page("retry_failed_jobs")).status_code == 302
    assert start(site.machines[0]).job_id != again.job_id
    viewer = sign_in(site, Role.VIEWER)
    assert viewer.post(page("retry_failed_jobs")).status_code == 403


def test_another_tenants_jobs_are_neither_shown_nor_touched(running):
    stranger = sign_in(Site("south"))
    fragment = stranger.get(page("live", running.job_id))
    assert (fragment.status_code, fragment.content) == (204, b"")
    assert str(running.job_id) not in stranger.get(page("live_cells") + f"?ids={running.job_id.hex}").content.decode()
    assert stranger.post(page("cancel_job", running.job_id)).status_code == 404
    assert state(running.job_id) == "running"


def test_who_is_signed_out_gets_the_whole_page_anew(running):
    for address in (page("live", running.job_id), page("live_cells")):
        answer = Client().get(address)
        assert (answer.status_code, answer["HX-Refresh"]) == (204, "true")


def test_failed_jobs_are_found_by_one_filter(site, client, running):
    agent_jobs.report(running.job_id, running.lease, "failed", message="no such directory")
    site.ask(site.machines[1])
    listed = client.get(page("changelist") + "?look=bad").content.decode()
    assert "no such directory" in listed
    assert site.machines[1].name not in listed
    page_of_one = client.get(page("change", running.job_id)).content.decode()
    assert f"Backup of {site.machines[0].name}" in page_of_one, "the title says which machine"


def test_a_workers_job_still_has_its_page(site, client):
    with tenant_scope(site.tenant):
        made = Job.objects.create(
            tenant=site.tenant, kind="verify", subject=f"pack:{uuid4()}", dedupe_key="x", progress={"records": 5}
        )
    shown = client.get(page("change", made.pk)).content.decode()
    assert "records" in shown
    assert client.post(page("cancel_job", made.pk)).status_code in {302, 403}
    assert job(made.pk).state == "queued"


def test_a_tenants_admin_sets_limits_of_their_own_tenant_and_it_is_audited(site, client):
    answer = client.post(reverse("admin:jobs_joblimits_add"), {"group": "", "most_running": "3", "target": "local"})
    assert answer.status_code == 302
    with without_tenant_scope("test"):
        made = JobLimits.objects.get()
        assert (made.tenant_id, made.target, made.most_running) == (site.tenant.pk, "", 3)
        assert Entry.objects.latest("id").verb == "job_limits.set"
    again = client.post(reverse("admin:jobs_joblimits_add"), {"group": "", "most_running": "4"})
    assert again.status_code == 200, "a second one is refused in the form"
    client.post(reverse("admin:jobs_joblimits_delete", args=[made.pk]), {"post": "yes"})
    with without_tenant_scope("test"):
        assert not JobLimits.objects.exists()
        assert Entry.objects.latest("id").verb == "job_limits.removed"


@pytest.mark.defence
def test_a_restore_is_tried_again_by_those_only_who_may_ask_for_one(site, client):
    machine = site.machines[0]
    with tenant_scope(site.tenant):
        failed = Job.objects.create(
            tenant=site.tenant, kind="restore", subject="snapshot:x", dedupe_key="restore:x", machine=machine,
            state="failed", spec={"snapshot": uuid4().hex, "paths": [], "into": ""},
        )  # fmt: skip
        role = CustomRole.objects.create(
            tenant=site.tenant, name="Runner", permissions=["jobs.view", "jobs.run", "machines.view"]
        )
        user = User.objects.create_user("runner")
        Member.objects.create(user=user, tenant=site.tenant, custom_role=role)
    runner = Client()
    runner.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    retry = page("retry_job", failed.pk)
    assert runner.get(page("change", failed.pk)).status_code == 200
    assert (runner.get(retry).status_code, runner.post(retry).status_code) == (403, 403)
    assert "There is no such snapshot" in client.post(retry, follow=True).content.decode()
