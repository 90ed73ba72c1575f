"""*Restore* on a snapshot's page: a machine is asked, by who may, for what it can open; where to is its own word."""

from __future__ import annotations

import pytest
from django.urls import reverse

from backup_platform.audit.models import Entry
from backup_platform.fleet.models import Machine
from backup_platform.jobs.models import Job
from backup_platform.tenants.models import Member, Role
from backup_platform.tenants.scope import tenant_scope


def address(world) -> str:
    return reverse("admin:catalog_snapshot_restore", args=[world.snapshot.pk])


def restores(world) -> list[Job]:
    with tenant_scope(world.tenant):
        return list(Job.objects.filter(kind="restore"))


def test_a_restore_is_asked_for_on_the_snapshots_page(member, worlds):
    ours, _ = worlds
    page = member.get(reverse("admin:catalog_snapshot_change", args=[ours.snapshot.pk])).content.decode()
    assert address(ours) in page
    asked = member.get(address(ours)).content.decode()
    assert "Files and directories" in asked
    assert restores(ours) == [], "a GET only asks"
    answer = member.post(address(ours), {"paths": "/home/anna\r\n\r\n /srv/x \r\n", "into": "desk"})
    (job,) = restores(ours)
    assert answer["Location"] == reverse("admin:jobs_job_change", args=[job.pk])
    assert job.spec == {"snapshot": ours.snapshot.pk.hex, "paths": ["/home/anna", "/srv/x"], "into": "desk"}
    with tenant_scope(ours.tenant):
        line = Entry.objects.get(verb="restore.requested")
    assert (line.actor, line.object) == ("user ours-admin", f"machine:{ours.machine.pk}")
    assert "is asked to restore" in member.get(answer["Location"]).content.decode()


def test_nothing_written_means_all_of_it_into_a_fresh_directory(member, worlds):
    member.post(address(worlds[0]), {"paths": "", "into": ""})
    (job,) = restores(worlds[0])
    assert (job.spec["paths"], job.spec["into"]) == ([], "")


def test_a_name_with_a_strange_separator_in_it_stays_one_path(member, worlds):
    member.post(address(worlds[0]), {"paths": "/a\u2028/b\r\n/c\x85/d\x0b/e", "into": ""})
    (job,) = restores(worlds[0])
    assert job.spec["paths"] == ["/a\u2028/b", "/c\x85/d\x0b/e"]


@pytest.mark.parametrize(("sent", "words"), [
    ({"paths": "etc/passwd"}, "begins with /"),
    ({"paths": "/srv/../etc"}, "leads upwards"),
    ({"into": "/etc"}, "is no restore folder"),
    ({"into": "../x"}, "is no restore folder"),
    ({"paths": "/x\n" * 1001}, "At most 1,000 paths"),
    ({"paths": "/a\0b"}, "ull characters are not allowed"),
])  # fmt: skip
def test_what_cannot_be_is_said_in_the_form_and_what_was_written_stays(member, worlds, sent, words):
    answer = member.post(address(worlds[0]), {"paths": "", "into": ""} | sent)
    page = answer.content.decode()
    assert answer.status_code == 200
    assert words in page
    assert restores(worlds[0]) == []


def test_a_machine_that_may_only_write_is_not_asked(member, worlds):
    ours, _ = worlds
    with tenant_scope(ours.tenant):
        Machine.objects.update(write_only=True)
    assert "with the vault&#x27;s kit" in member.post(address(ours), {"paths": "", "into": ""}).content.decode()
    assert restores(ours) == []


@pytest.mark.parametrize(("role", "may"), [
    (Role.ADMIN, True), (Role.OPERATOR, True), (Role.RESTORE_OPERATOR, True),
    (Role.AUDITOR, False), (Role.VIEWER, False),
])  # fmt: skip
def test_the_role_decides(sign_in, worlds, role, may):
    ours, _ = worlds
    with tenant_scope(ours.tenant):
        Member.objects.update(role=role)
    client = sign_in(ours.member.user)
    page = client.get(reverse("admin:catalog_snapshot_change", args=[ours.snapshot.pk])).content.decode()
    assert (address(ours) in page) == may
    assert client.get(address(ours)).status_code == (200 if may else 403)
    assert client.post(address(ours), {"paths": "", "into": ""}).status_code == (302 if may else 403)
    assert len(restores(ours)) == may


@pytest.mark.defence
def test_another_tenants_snapshot_is_not_there(member, worlds):
    assert member.get(address(worlds[1])).status_code == 404
    assert member.post(address(worlds[1]), {"paths": "", "into": ""}).status_code == 404
    assert restores(worlds[1]) == []


def test_tags_are_shown_where_they_are_changed_and_can_all_be_taken_off(member, worlds):
    ours, _ = worlds
    tags = reverse("admin:catalog_snapshot_tag", args=[ours.snapshot.pk])
    member.post(tags, {"reason": "before-upgrade, audit"})
    assert 'value="audit before-upgrade"' in member.get(tags).content.decode()
    assert "Its tags: none." in member.post(tags, {"reason": ""}, follow=True).content.decode()
