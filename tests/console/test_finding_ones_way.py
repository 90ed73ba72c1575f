"""Pages lead on: from a machine to what is there of it, from a new policy to its assignment; titles name things."""

from __future__ import annotations

import re

import pytest
from django.urls import reverse

from backup_platform.catalog.models import Copy, Snapshot, SnapshotCopy
from backup_platform.fleet.models import Machine
from backup_platform.jobs.models import Job, JobState
from backup_platform.policies.models import Policy
from backup_platform.retention.models import Expiry
from backup_platform.tenants.scope import tenant_scope
from backup_platform.tiering.models import TierRule
from backup_platform.upkeep.models import ReclaimRound, ScrubFinding


def title(page: str) -> str:
    """What the heading of a page says, without marks."""
    heading = re.search(r"<h1.*?</h1>", page, re.DOTALL).group()
    return " ".join(re.sub(r"<[^>]+>", " ", heading).replace("chevron_right", ">").split())


def shown(client, model, row) -> str:
    return client.get(
        reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[row.pk])
    ).content.decode()


def test_a_machines_page_leads_to_its_snapshots_and_its_jobs(member, worlds):
    ours, _ = worlds
    with tenant_scope(ours.tenant):
        other = Machine.objects.get(pk=ours.machine.pk)
        other.pk, other.name, other.identity_hash = None, "another-machine", b"x" * 32
        other.save(force_insert=True)
        Job.objects.create(tenant=ours.tenant, kind="backup", machine=ours.machine, subject="s", dedupe_key="one")
        Job.objects.create(tenant=ours.tenant, kind="backup", machine=other, subject="s", dedupe_key="two")
    links = re.findall(r'href="([^"]+machine__id__exact=[^"]+)"', shown(member, Machine, ours.machine))
    assert len(links) == 2
    for link in links:
        answer = member.get(link)
        assert answer.status_code == 200, link
        rows = answer.content.decode().partition('id="result_list"')[2]
        assert "ours-machine" in rows
        assert "another-machine" not in rows


def test_jobs_of_machines_are_found_among_the_platforms_own(member, worlds):
    ours, _ = worlds
    with tenant_scope(ours.tenant):
        made = Job.objects.create(
            tenant=ours.tenant, kind="backup", machine=ours.machine, subject="s", dedupe_key="one"
        )
    listed = member.get(reverse("admin:jobs_job_changelist"), {"look": "machines"}).content.decode()
    assert str(made.pk) in listed
    assert str(ours.job.pk) not in listed, "the platform's own work"


def test_a_jobs_page_is_loaded_anew_once_it_has_ended(member, worlds):
    ours, _ = worlds
    live = reverse("admin:jobs_job_live", args=[ours.job.pk])
    assert "HX-Refresh" not in member.get(live).headers
    with tenant_scope(ours.tenant):
        Job.objects.update(state=JobState.DONE)
    assert member.get(live).headers["HX-Refresh"] == "true"


def test_what_came_of_the_platforms_work_is_told_in_words(member, worlds):
    ours, _ = worlds
    with tenant_scope(ours.tenant):
        Job.objects.update(progress={"packs_checked": 12_000, "healed": [], "by": {"copies": 2}}, state=JobState.DONE)
    page = shown(member, Job, ours.job)
    for wanted in ("packs checked: 12,000", "healed: none", "by: copies 2"):
        assert wanted in page, wanted


def test_a_new_policy_leads_to_its_page_where_it_is_assigned(member, worlds):
    page = member.get(reverse("admin:policies_policy_add"), {"template": "server"}).content.decode()
    fields = dict(re.findall(r'<(?:input|select)[^>]*name="([a-z_]+)"[^>]*value="([^"]*)"', page))
    assert "Written as 500 MB or 2 GiB" in page
    sent = {**fields, "name": "Our servers", "schedule__kind": "cron", "schedule__zone": "machine",
            "selection__chunker": "default", "schedule__catch_up": "once", "limits__io_class": "normal"}  # fmt: skip
    answer = member.post(reverse("admin:policies_policy_add"), sent, follow=True)
    with tenant_scope(worlds[0].tenant):
        made = Policy.objects.get(name="Our servers")
    assert answer.request["PATH_INFO"] == reverse("admin:policies_policy_change", args=[made.pk])
    assert "It applies to nobody yet" in answer.content.decode()


@pytest.mark.parametrize(("model", "words"), [
    (Snapshot, "ours-machine as of "), (Expiry, "ours-machine as of "), (Copy, "pack "), (TierRule, "rule for "),
    (SnapshotCopy, "ours-machine at "), (ReclaimRound, "of ours-vault"),
])  # fmt: skip
def test_the_title_of_a_page_says_what_it_is_about_in_names(member, worlds, model, words):
    ours, _ = worlds
    with tenant_scope(ours.tenant):
        row = ours.row_of(model)
    found = title(shown(member, model, row))
    assert words in found
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}", found), "an id says nothing to people"


def test_a_finding_about_a_snapshot_leads_to_it(member, worlds):
    ours, _ = worlds
    with tenant_scope(ours.tenant):
        row = ScrubFinding.objects.create(tenant=ours.tenant, kind="object", subject=f"snapshot:{ours.snapshot.pk}",
                                          fault="It is gone.")  # fmt: skip
    assert reverse("admin:catalog_snapshot_change", args=[ours.snapshot.pk]) in shown(member, ScrubFinding, row)


def test_both_halves_of_a_holds_times_are_named_for_who_hears_the_page(member, worlds):
    page = member.get(reverse("admin:retention_hold_add")).content.decode()
    assert page.count("time, UTC") == 3
    assert 'aria-label="Ends: date"' in page


def test_a_changed_password_leads_to_the_dashboard(member, worlds):
    assert f'href="{reverse("admin:index")}"' in member.get(reverse("admin:password_change_done")).content.decode()
