"""The API shows policies and their next runs, to those who may see them."""

from __future__ import annotations

import pytest
from django.test import Client

from backup_platform.tenants.models import Member, Role, User
from backup_platform.tenants.scope import without_tenant_scope

HOURLY = {
    "schedule.kind": "cron",
    "schedule.cron": "0 * * * *",
    "schedule.zone": "Europe/Berlin",
    "schedule.jitter_minutes": 0,
    "selection.sources": ["/home"],
}


@pytest.fixture
def client(ours) -> Client:
    """A viewer of our tenant."""
    with without_tenant_scope("a test"):
        user = User.objects.create_user("viewer")
        Member.objects.create(user=user, tenant=ours.tenant, role=Role.VIEWER)
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def policy(ours):
    policy = ours.policy(**HOURLY)
    ours.assign(policy)
    return policy


def test_policies_of_the_own_tenant_are_listed(client, policy, theirs):
    theirs.policy("Secrets")
    (found,) = client.get("/api/v1/policies/").json()["results"]
    assert (found["name"], found["settings"]) == ("Documents", HOURLY)


def test_next_runs_come_with_zone_and_reasons(client, policy, ours):
    machine = ours.machine()
    answer = client.get(f"/api/v1/policies/{policy.pk}/next-runs/?machine={machine.pk}&count=3").json()
    assert answer["zone"] == "Europe/Berlin"
    assert answer["silence"] == ""
    assert len(answer["runs"]) == 3
    assert answer["runs"][0]["at"].endswith(":00:00Z")


def test_silence_is_explained(client, policy, ours):
    machine = ours.machine()
    ours.assign(policy, machine=machine, excluded=True)
    answer = client.get(f"/api/v1/policies/{policy.pk}/next-runs/?machine={machine.pk}").json()
    assert answer["runs"] == []
    assert "does not apply" in answer["silence"]


def test_what_is_another_tenants_looks_like_missing(client, policy, theirs):
    other, machine = theirs.policy("Secrets"), theirs.machine()
    assert client.get(f"/api/v1/policies/{other.pk}/").status_code == 404
    assert client.get(f"/api/v1/policies/{policy.pk}/next-runs/?machine={machine.pk}").status_code == 404
    assert client.get(f"/api/v1/policies/{other.pk}/next-runs/?machine={machine.pk}").status_code == 404


@pytest.mark.parametrize("asked", ["", "?machine=x", "?machine={machine}&count=0", "?machine={machine}&count=many"])
def test_a_wrong_question_is_told(client, policy, ours, asked):
    machine = ours.machine()
    answer = client.get(f"/api/v1/policies/{policy.pk}/next-runs/{asked.format(machine=machine.pk)}")
    assert answer.status_code == 400


def test_nothing_is_shown_without_signing_in(policy):
    assert Client().get("/api/v1/policies/").status_code in (401, 403)
