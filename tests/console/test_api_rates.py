"""How often the API may be asked: counted together in Valkey, told in words, and no reason to be away without it."""

from __future__ import annotations

import os
import threading
import time
from uuid import uuid4

import pytest
import redis
from django.test import Client

from backup_platform.api import rates
from backup_platform.api.rates import network_of, take_share

MACHINES = "/api/v1/machines/"


@pytest.fixture(autouse=True)
def open_gate(monkeypatch, servers):
    monkeypatch.setattr(rates, "_closed_until", 0.0)


@pytest.fixture
def asker() -> str:
    """A name that no other test has used up."""
    return f"test:{uuid4().hex}"


@pytest.fixture
def visitor(settings) -> Client:
    """A visitor of a network of its own."""
    parts = os.urandom(4).hex()
    return Client(REMOTE_ADDR=f"2001:db8:{parts[:4]}:{parts[4:]}::1")


@pytest.mark.defence
def test_a_person_who_asks_too_often_is_told_when_to_come_again(member, boss, settings):
    settings.STRONGROOM_API_RATE = 4
    assert [member.get(MACHINES).status_code for _ in range(4)] == [200] * 4
    answer = member.get(MACHINES)
    assert answer.status_code == 429
    assert 1 <= int(answer["Retry-After"]) <= 15
    assert answer.json() == {"detail": "Too many requests: each person may ask the API 4 times a minute. Try again in "
                                       f"{answer['Retry-After']} seconds."}  # fmt: skip
    assert boss.get(MACHINES).status_code == 200, "each person has their own"


def test_every_address_of_the_api_counts_the_schema_too(member, settings):
    settings.STRONGROOM_API_RATE = 3
    asked = ("/api/v1/", "/api/v1/schema/", "/api/v1/alerts/")
    assert [member.get(address).status_code for address in asked] == [200] * 3
    assert [member.get(address).status_code for address in (*asked, MACHINES)] == [429] * 4
    assert member.get("/admin/").status_code == 200, "the console is not the API"


@pytest.mark.defence
def test_visitors_are_counted_by_their_network_though_they_get_nothing(visitor, db, settings):
    settings.STRONGROOM_API_VISITOR_RATE = 3
    assert {visitor.get(MACHINES).status_code for _ in range(3)} <= {401, 403}
    neighbour = Client(REMOTE_ADDR=visitor.defaults["REMOTE_ADDR"][:-1] + "2")
    answer = neighbour.get(MACHINES)
    assert answer.status_code == 429
    assert "visitors who are not signed in may ask the API 3 times a minute" in answer.json()["detail"]
    assert int(answer["Retry-After"]) >= 1


def test_who_belongs_nowhere_is_counted_as_a_person(stranger, settings):
    settings.STRONGROOM_API_RATE = 2
    assert [stranger.get(MACHINES).status_code for _ in range(3)] == [403, 403, 429]


def test_a_request_counts_once_though_it_is_refused(worlds, sign_in, settings):
    from backup_platform.tenants.models import Member, Role, User
    from backup_platform.tenants.scope import without_tenant_scope

    settings.STRONGROOM_API_RATE = 4
    with without_tenant_scope("a test"):
        user = User.objects.create_user("viewer")
        Member.objects.create(user=user, tenant=worlds[0].tenant, role=Role.VIEWER)
    viewer = sign_in(user)
    codes = [viewer.post("/api/v1/snoozes/", {}, content_type="application/json").status_code for _ in range(5)]
    assert codes == [403, 403, 403, 403, 429]


def test_nought_is_no_limit(member, settings):
    settings.STRONGROOM_API_RATE = 0
    assert {member.get(MACHINES).status_code for _ in range(20)} == {200}


@pytest.mark.defence
def test_without_valkey_nobody_is_refused_and_nobody_waits_for_it_twice(member, settings, caplog):
    settings.STRONGROOM_API_RATE = 1
    settings.REDIS_URL = "redis://:secret@127.0.0.1:1/0"
    assert [member.get(MACHINES).status_code for _ in range(5)] == [200] * 5
    said = [one.getMessage() for one in caplog.records if "not counted" in one.getMessage()]
    assert len(said) == 1
    assert "secret" not in said[0]


def test_shares_come_back_steadily_and_what_is_refused_uses_none(asker):
    """Two at once, one more each fifth of a second."""
    assert [take_share(asker, 2, 0.4) for _ in range(2)] == [0.0, 0.0]
    refused = [take_share(asker, 2, 0.4) for _ in range(20)]
    assert all(0 < wait <= 0.2 for wait in refused if wait)
    until, waited = time.monotonic() + 10, time.monotonic()
    while take_share(asker, 2, 0.4):
        assert time.monotonic() < until
        time.sleep(0.005)
    assert time.monotonic() - waited < 5, "refused requests did not push the next share away"


def test_many_at_once_get_what_there_is_and_no_more(asker):
    got: list[float] = []

    def ask() -> None:
        got.extend(take_share(asker, 10, 3600.0) for _ in range(10))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (len(got), sum(wait == 0.0 for wait in got)) == (80, 10)


def test_a_clock_that_leapt_back_locks_nobody_out(asker, settings):
    client = redis.from_url(settings.REDIS_URL)
    client.set(f"strongroom:rate:{asker}", f"{time.time() + 86_400:.6f}")
    assert take_share(asker, 5) == 0.0


def test_what_is_remembered_goes_by_itself(asker, settings):
    take_share(asker, 5)
    left = redis.from_url(settings.REDIS_URL).pttl(f"strongroom:rate:{asker}")
    assert 0 < left <= 13_000


@pytest.mark.parametrize(("address", "network"), [
    ("192.0.2.7", "192.0.2.7"), ("::ffff:192.0.2.7", "192.0.2.7"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
    ("fe80::1%eth0", "fe80::/64"), ("", "unknown"), ("not an address", "unknown"),
])  # fmt: skip
def test_an_address_stands_for_its_network(address, network):
    assert network_of(address) == network
