"""Alerts and snoozes over HTTP: found, filtered, acted on by who may, in one's own tenant only."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from backup_platform.audit.models import Entry
from backup_platform.fleet.models import GroupMembership, MachineGroup
from backup_platform.notifications.models import Alert, Snooze
from backup_platform.tenants.models import Member, MemberGroup, Role, User
from backup_platform.tenants.scope import without_tenant_scope

ALERTS, SNOOZES = "/api/v1/alerts/", "/api/v1/snoozes/"


@pytest.fixture(autouse=True)
def everywhere():
    with without_tenant_scope("tests"):
        yield


@pytest.fixture
def ours(worlds) -> Alert:
    return Alert.objects.get(tenant=worlds[0].tenant)


@pytest.fixture
def foreign(worlds) -> Alert:
    return Alert.objects.get(tenant=worlds[1].tenant)


@pytest.fixture
def person(worlds, sign_in):
    """A member of our tenant with a role, signed in."""

    def person(role: str):
        user = User.objects.create_user(f"{role}-person")
        Member.objects.create(user=user, tenant=worlds[0].tenant, role=role)
        return sign_in(user)

    return person


def make(worlds, key: str, *, level: int = 20, kind: str = "silent", machine=None, **more) -> Alert:
    world = worlds[0]
    return Alert.objects.create(tenant=world.tenant, machine=machine, kind=kind, subject=more.pop("subject", "tenant"),
                                level=level, text=f"{key} is wrong.", dedupe_key=key, **more)  # fmt: skip


def post(client, address: str, body: dict | None = None):
    return client.post(address, body or {}, content_type="application/json")


def texts(client, **asked) -> list[str]:
    answer = client.get(ALERTS, asked)
    assert answer.status_code == 200, answer.content
    return [row["text"] for row in answer.json()["results"]]


def verbs() -> list[str]:
    return list(Entry.objects.filter(verb__startswith="alert").order_by("id").values_list("verb", flat=True))


def test_members_read_the_alerts_of_their_tenant_newest_first(member, worlds, ours):
    newer = make(worlds, "newer", opened_at=timezone.now() + timedelta(seconds=1))
    (first, second) = member.get(ALERTS).json()["results"]
    assert (first["id"], second["id"]) == (str(newer.pk), str(ours.pk))
    expected = {"kind": "failed", "level": "error", "severity": 30, "state": "open", "text": "ours failed.", "count": 1,
                "subject": f"machine:{worlds[0].machine.pk}", "machine": str(worlds[0].machine.pk),
                "tenant": str(worlds[0].tenant.pk), "resolved_at": None}  # fmt: skip
    assert {name: second[name] for name in expected} == expected
    assert not {"dedupe_key", "pending", "announced_level"} & set(second)


@pytest.mark.defence
def test_another_tenants_alert_looks_like_a_missing_one(member, foreign):
    assert "theirs failed." not in texts(member)
    assert member.get(f"{ALERTS}{foreign.pk}/").status_code == 404
    for act, body in (("acknowledge", {}), ("close", {}), ("snooze", {"hours": 1})):
        assert post(member, f"{ALERTS}{foreign.pk}/{act}/", body).status_code == 404
    foreign.refresh_from_db()
    assert (foreign.acknowledged_at, foreign.resolved_at) == (None, None)
    assert Snooze.objects.filter(kind="failed").count() == 0
    assert member.get(ALERTS, {"machine": str(foreign.machine_id)}).status_code == 400, "as one that does not exist"


def test_staff_reads_everybodys_and_the_platforms_own(boss, ours, foreign):
    Alert.objects.create(kind="disk", subject="disk:x", level=20, text="The disk.", dedupe_key="disk")
    assert set(texts(boss)) == {"ours failed.", "theirs failed.", "The disk."}


def test_filters_narrow_and_may_be_given_several_times(member, worlds, ours):
    make(worlds, "silence", machine=worlds[0].machine)
    make(worlds, "seen", acknowledged_at=timezone.now())
    make(worlds, "past", level=10, resolved_at=timezone.now(), opened_at=timezone.now() - timedelta(days=3))
    assert set(texts(member, state="open")) == {"ours failed.", "silence is wrong."}
    assert texts(member, state="acknowledged") == ["seen is wrong."]
    assert set(texts(member, state=["acknowledged", "over"])) == {"seen is wrong.", "past is wrong."}
    assert texts(member, level="error") == ["ours failed."]
    assert texts(member, level=["info", "error"]) == ["ours failed.", "past is wrong."]
    assert len(texts(member, at_least="warning")) == 3
    assert texts(member, kind="failed") == ["ours failed."]
    assert set(texts(member, machine=str(worlds[0].machine.pk))) == {"ours failed.", "silence is wrong."}
    assert len(texts(member, subject="tenant")) == 3
    day_ago = timezone.now() - timedelta(days=1)
    assert texts(member, until=day_ago.isoformat()) == ["past is wrong."]
    assert len(texts(member, since=day_ago.isoformat())) == 3


@pytest.mark.parametrize("asked", [
    {"state": "nonsense"}, {"level": "30"}, {"kind": "x"}, {"since": "never"}, {"machine": "x"}, {"at_least": ""},
])  # fmt: skip
def test_unknown_values_are_refused_or_ignored_and_never_a_fault_of_ours(member, asked):
    assert member.get(ALERTS, asked).status_code == (200 if "at_least" in asked else 400)


def test_pages_are_bounded_and_followed_by_cursor(member, worlds, ours):
    for number in range(4):
        make(worlds, f"more-{number}")
    seen, address = [], f"{ALERTS}?limit=2"
    while address:
        page = member.get(address).json()
        assert len(page["results"]) <= 2
        seen += [row["id"] for row in page["results"]]
        address = page["next"]
    assert len(seen) == len(set(seen)) == 5


def test_an_operator_acknowledges_and_closes_and_both_are_audited(person, ours):
    operator = person(Role.OPERATOR)
    said = post(operator, f"{ALERTS}{ours.pk}/acknowledge/").json()
    assert (said["state"], said["acknowledged_by"]) == ("acknowledged", "user operator-person")
    assert post(operator, f"{ALERTS}{ours.pk}/acknowledge/").status_code == 200
    said = post(operator, f"{ALERTS}{ours.pk}/close/").json()
    assert (said["state"], said["resolution"]) == ("over", "Closed by user operator-person.")
    assert post(operator, f"{ALERTS}{ours.pk}/close/").status_code == 200
    assert verbs() == ["alert.acknowledged", "alert.closed"], "what changed nothing leaves no line"


@pytest.mark.defence
def test_who_may_only_look_changes_nothing(person, worlds, ours):
    viewer = person(Role.VIEWER)
    assert texts(viewer) == ["ours failed."]
    for act, body in (("acknowledge", {}), ("close", {}), ("snooze", {"hours": 1})):
        assert post(viewer, f"{ALERTS}{ours.pk}/{act}/", body).status_code == 403
    assert post(viewer, SNOOZES, {"hours": 1}).status_code == 403
    row = Snooze.objects.get(tenant=worlds[0].tenant)
    assert viewer.delete(f"{SNOOZES}{row.pk}/").status_code == 403
    ours.refresh_from_db()
    assert (ours.acknowledged_at, ours.resolved_at, Snooze.objects.count()) == (None, None, 2)


def test_an_alert_is_snoozed_alone_or_with_its_kind(person, worlds, ours):
    operator = person(Role.OPERATOR)
    one = post(operator, f"{ALERTS}{ours.pk}/snooze/", {"hours": 5, "reason": "Maintenance"})
    assert one.status_code == 201
    said = one.json()
    assert (said["kind"], said["subject"], said["reason"]) == ("failed", ours.subject, "Maintenance")
    left = datetime.fromisoformat(said["until"]) - timezone.now()
    assert timedelta(hours=4, minutes=50) < left <= timedelta(hours=5)
    whole = post(operator, f"{ALERTS}{ours.pk}/snooze/", {"hours": 2160, "whole_kind": True}).json()
    assert (whole["kind"], whole["subject"], whole["tenant"]) == ("failed", "", str(worlds[0].tenant.pk))
    assert verbs() == ["alerts.snoozed", "alerts.snoozed"]


@pytest.mark.parametrize("body", [{}, {"hours": 0}, {"hours": 2161}, {"hours": "x"}, {"hours": 1, "reason": "x" * 201}])
def test_a_snooze_that_cannot_be_is_refused_in_words(person, ours, body):
    answer = post(person(Role.OPERATOR), f"{ALERTS}{ours.pk}/snooze/", body)
    assert answer.status_code == 400
    assert set(answer.json()) <= {"hours", "reason"}


@pytest.mark.defence
def test_a_member_of_some_machines_snoozes_these_and_no_whole_kind(person, worlds, ours):
    limited = person(Role.OPERATOR)
    group = MachineGroup.objects.create(tenant=worlds[0].tenant, name="some")
    GroupMembership.objects.create(tenant=worlds[0].tenant, group=group, machine=worlds[0].machine)
    place = Member.objects.get(user__username="operator-person")
    MemberGroup.objects.create(member=place, group=group)
    make(worlds, "of-the-tenant")
    assert texts(limited) == ["ours failed."]
    answer = post(limited, f"{ALERTS}{ours.pk}/snooze/", {"hours": 1, "whole_kind": True})
    assert (answer.status_code, "reaches beyond them" in answer.content.decode()) == (400, True)
    assert post(limited, f"{ALERTS}{ours.pk}/snooze/", {"hours": 1}).status_code == 201
    assert Snooze.objects.filter(kind="failed").get().subject == ours.subject
    assert post(limited, f"{ALERTS}{ours.pk}/acknowledge/").status_code == 200
    assert limited.get(SNOOZES).status_code == 403


def test_a_maintenance_window_is_made_listed_and_ended(member, worlds):
    theirs = Snooze.objects.get(tenant=worlds[1].tenant)
    made = post(member, SNOOZES, {"hours": 4, "reason": "New switches"})
    assert (made.status_code, made.json()["kind"], made.json()["by"]) == (201, "", "user ours-admin")
    listed = member.get(SNOOZES).json()["results"]
    assert listed[0]["id"] == made.json()["id"]
    assert str(theirs.pk) not in [str(row["id"]) for row in listed]
    assert member.delete(f"{SNOOZES}{theirs.pk}/").status_code == 404
    assert member.delete(f"{SNOOZES}{made.json()['id']}/").status_code == 204
    assert member.delete(f"{SNOOZES}{made.json()['id']}/").status_code == 404
    assert verbs() == ["alerts.snoozed", "alerts.snooze_ended"]
    assert post(member, SNOOZES, {"hours": 4, "kind": "nonsense"}).status_code == 400


def test_nothing_else_can_be_written(member, ours):
    for method in ("put", "patch", "delete"):
        answer = getattr(member, method)(f"{ALERTS}{ours.pk}/", {}, content_type="application/json")
        assert answer.status_code in {403, 405}
    assert post(member, ALERTS, {"text": "x"}).status_code == 405


def test_visitors_and_people_without_a_place_are_refused(client, stranger, ours):
    for visitor in (client, stranger):
        for address in (ALERTS, SNOOZES, f"{ALERTS}{ours.pk}/"):
            assert visitor.get(address).status_code in {401, 403}
        assert post(visitor, f"{ALERTS}{ours.pk}/close/").status_code in {401, 403}


def test_the_schema_says_how(boss):
    schema = boss.get("/api/v1/schema/?format=json").json()
    listing = schema["paths"]["/api/v1/alerts/"]["get"]
    assert {"state", "level", "at_least", "kind", "machine", "since", "limit", "cursor"} <= {
        one["name"] for one in listing["parameters"]
    }
    for act in ("acknowledge", "close", "snooze"):
        assert "post" in schema["paths"][f"/api/v1/alerts/{{id}}/{act}/"]
    assert "delete" in schema["paths"]["/api/v1/snoozes/{id}/"]
