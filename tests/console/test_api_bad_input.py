"""What nobody's client sends: cursors and times that are none are the asker's fault, and no page of ours fails."""

from __future__ import annotations

from base64 import b64encode
from datetime import timedelta
from urllib.parse import quote

import pytest
from django.utils import timezone

from backup_platform.notifications.models import Alert
from backup_platform.tenants.scope import without_tenant_scope

BEYOND = ["9999-12-31T23:59:59-15:00", "0001-01-01T00:00:00+15:00"]
LISTS = ["alerts", "snoozes", "holds", "snapshots"]


def cursor(place: str) -> str:
    return b64encode(f"p={quote(place)}".encode()).decode()


@pytest.mark.defence
@pytest.mark.parametrize("place", ["nonsense", "\0", "2026-13-45", "2026-01-01", *BEYOND])
@pytest.mark.parametrize("rows", LISTS)
def test_a_cursor_that_no_page_gave_is_told(member, rows, place):
    answer = member.get(f"/api/v1/{rows}/", {"cursor": cursor(place)})
    assert (answer.status_code, answer.json()) == (404, {"detail": "Invalid cursor"})


@pytest.mark.parametrize("rows", ["machines", "policies"])
def test_a_name_with_a_nought_in_it_is_no_place(member, rows):
    assert member.get(f"/api/v1/{rows}/", {"cursor": cursor("a\0b")}).status_code == 404
    assert member.get(f"/api/v1/{rows}/", {"cursor": cursor("a")}).status_code == 200


def test_cursors_of_far_zones_and_our_own_lead_on(member, worlds):
    with without_tenant_scope("tests"):
        for number in range(4):
            Alert.objects.create(tenant=worlds[0].tenant, kind="silent", subject="tenant", level=20, text=f"{number}",
                                 dedupe_key=f"{number}", opened_at=timezone.now() - timedelta(days=9))  # fmt: skip
    assert member.get("/api/v1/alerts/", {"cursor": cursor("2030-01-01T00:00:00-20:00")}).json()["results"]
    seen, page = [], member.get("/api/v1/alerts/", {"limit": 2}).json()
    while True:
        seen += [row["id"] for row in page["results"]]
        if not page["next"]:
            break
        page = member.get(page["next"]).json()
    assert len(seen) == len(set(seen)) == 5
    assert member.get(page["previous"]).status_code == 200


@pytest.mark.parametrize("name", ["since", "until"])
@pytest.mark.parametrize("rows", ["alerts", "snapshots"])
def test_times_beyond_the_calendar_are_refused_and_far_zones_understood(member, rows, name):
    for moment in BEYOND:
        assert member.get(f"/api/v1/{rows}/", {name: moment}).status_code == 400
    assert member.get(f"/api/v1/{rows}/", {name: "2026-01-01T00:00:00-20:00"}).status_code == 200


@pytest.mark.parametrize("pk", ["9" * 40, "%00", "-1", "x"])
def test_an_id_that_is_none_is_a_missing_one(member, pk):
    for rows in ("alerts", "snoozes", "holds"):
        assert member.get(f"/api/v1/{rows}/{pk}/").status_code == 404
    assert member.delete(f"/api/v1/snoozes/{pk}/").status_code == 404
    for act in ("acknowledge", "close", "snooze"):
        sent = member.post(f"/api/v1/alerts/{pk}/{act}/", {"hours": 1}, content_type="application/json")
        assert sent.status_code == 404
