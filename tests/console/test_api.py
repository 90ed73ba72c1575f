"""The HTTP API: read-only, signed in, narrowed."""

from __future__ import annotations

import pytest

from backup_platform.tenants.models import Member
from backup_platform.tenants.scope import tenant_scope


def test_members_read_their_own_machines_and_snapshots(member, worlds):
    ours, theirs = worlds
    machines = member.get("/api/v1/machines/").json()["results"]
    assert [item["name"] for item in machines] == ["ours-machine"]
    assert machines[0]["last_snapshot_state"] == "received"
    assert not {"identity_key", "reading_key", "certificate", "record"} & set(machines[0])
    snapshots = member.get("/api/v1/snapshots/").json()["results"]
    assert [item["id"] for item in snapshots] == [str(ours.snapshot.pk)]
    assert member.get(f"/api/v1/snapshots/{ours.snapshot.pk}/").status_code == 200
    for kind, row in (("snapshots", theirs.snapshot), ("machines", theirs.machine)):
        assert member.get(f"/api/v1/{kind}/{row.pk}/").status_code == 404
    assert member.get("/api/v1/snapshots/", {"machine": str(theirs.machine.pk)}).status_code == 400


def test_staff_read_everything(boss):
    assert len(boss.get("/api/v1/machines/").json()["results"]) == 2


@pytest.mark.parametrize("address", ["/api/v1/", "/api/v1/machines/", "/api/v1/snapshots/", "/api/v1/schema/"])
def test_visitors_are_refused(client, db, address):
    assert client.get(address).status_code in {401, 403}


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_nothing_can_be_written(boss, worlds, method):
    for address in ("/api/v1/machines/", f"/api/v1/machines/{worlds[0].machine.pk}/"):
        assert getattr(boss, method)(address, {}, content_type="application/json").status_code == 405


def test_pages_are_bounded_and_followed_by_cursor(boss):
    first = boss.get("/api/v1/machines/", {"limit": 1}).json()
    second = boss.get(first["next"]).json()
    assert [item["name"] for item in first["results"] + second["results"]] == ["ours-machine", "theirs-machine"]
    assert boss.get("/api/v1/machines/", {"limit": 10**9}).status_code == 200


def test_filters_narrow_and_unknown_values_are_refused(boss, worlds):
    found = boss.get("/api/v1/snapshots/", {"state": "verified"}).json()["results"]
    assert found == []
    assert boss.get("/api/v1/snapshots/", {"state": "nonsense"}).status_code == 400
    assert boss.get("/api/v1/snapshots/", {"since": "never"}).status_code == 400


def test_the_schema_names_both_resources(boss):
    schema = boss.get("/api/v1/schema/").content.decode()
    assert "/api/v1/machines/" in schema
    assert "/api/v1/snapshots/{id}/" in schema


def test_a_member_whose_place_was_taken_away_reads_nothing(member, worlds):
    with tenant_scope(worlds[0].tenant):
        Member.objects.all().delete()
    assert member.get("/api/v1/machines/").status_code == 403
