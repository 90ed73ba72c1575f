"""Presence: right by the gateways' beats, without a write for a heartbeat."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from backup_platform.fleet import presence
from backup_platform.fleet.models import GatewayBeat, Machine, MachineState
from backup_platform.fleet.presence import Arrival
from backup_platform.fleet.services import enroll_machine
from backup_platform.tenants.scope import without_tenant_scope

from .conftest import make_csr, make_token, rsa_key, spki


@pytest.fixture(autouse=True)
def wide_scope():
    with without_tenant_scope("tests of presence"):
        yield


@pytest.fixture
def machine(vault):
    return enroll_machine(make_token(vault), make_csr(rsa_key("identity")), spki(rsa_key("reading")), {}).machine


def row(machine) -> Machine:
    return presence.with_presence(Machine.objects.filter(pk=machine.pk)).get()


def arrive(machine, gateway: str = "g1", age: float = 0.0, **said) -> None:
    presence.note_arrivals(gateway, [Arrival(machine.pk, age, **said)])


def silence(gateway: str, seconds: float) -> None:
    GatewayBeat.objects.filter(name=gateway).update(seen_at=timezone.now() - timedelta(seconds=seconds))


def test_machine_is_online_while_its_gateway_beats(machine):
    presence.beat("g1")
    assert not row(machine).online
    arrive(machine)
    assert row(machine).online
    assert list(Machine.objects.filter(presence.online_q())) == [machine]
    silence("g1", presence.SILENCE.total_seconds() + 1)
    assert not row(machine).online


def test_machine_is_last_seen_when_its_gateway_was(machine):
    presence.beat("g1")
    arrive(machine)
    Machine.objects.update(last_seen_at=timezone.now() - timedelta(hours=5))
    assert timezone.now() - row(machine).seen_at < timedelta(minutes=1)
    silence("g1", 3600)
    assert timedelta(minutes=59) < timezone.now() - row(machine).seen_at < timedelta(minutes=61)


def test_machine_that_left_is_away_and_was_last_seen_then(machine):
    presence.beat("g1")
    arrive(machine)
    presence.note_departures("g1", [machine.pk])
    found = row(machine)
    assert not found.online
    assert found.connected_to == ""
    assert timezone.now() - found.seen_at < timedelta(minutes=1)
    assert found.disconnected_at is not None


def test_machine_that_never_came_was_never_seen(machine):
    Machine.objects.update(last_seen_at=None)
    assert row(machine).seen_at is None


def test_late_word_of_an_old_gateway_does_not_hide_the_new_connection(machine):
    presence.beat("g2")
    arrive(machine, "g2", age=1.0)
    arrive(machine, "g1", age=30.0)
    presence.note_departures("g1", [machine.pk])
    assert row(machine).connected_to == "g2"
    assert row(machine).online


def test_a_thousand_beats_write_no_machine(machine, django_assert_num_queries):
    with django_assert_num_queries(1) as written:
        presence.beat("g1", presence.Beat("host:1", 1000, 3))
    assert "fleet_machine" not in written.captured_queries[0]["sql"]


def test_many_arrivals_and_departures_are_one_statement_each(vault, machine, django_assert_num_queries):
    others = [uuid4() for _ in range(300)]
    with django_assert_num_queries(2):
        presence.note_arrivals("g1", [Arrival(one, 0.0) for one in (machine.pk, *others)])
        presence.note_departures("g1", [machine.pk, *others])


def test_arrival_says_facts_zone_clock_and_retries(machine):
    arrive(
        machine,
        facts={"os": "Linux\n6"},
        zone="Europe/Berlin",
        clock_offset=86_400.5,
        retries={"transfer": 3, "b\0d": 1},
    )
    found = row(machine)
    assert found.facts == {"os": "Linux�6"}
    assert (found.zone, found.clock_offset) == ("Europe/Berlin", 86_400.5)
    assert found.retries == {"transfer": 3, "b�d": 1}
    arrive(machine)
    assert row(machine).facts == {"os": "Linux�6"}


def test_clock_of_another_century_is_kept_within_bounds(machine):
    arrive(machine, clock_offset=-9e15)
    assert row(machine).clock_offset == -presence.MOST_OFFSET


def test_gateway_that_starts_again_knows_none_of_its_former_connections(machine):
    presence.beat("g1")
    arrive(machine)
    presence.open_gateway("g1")
    assert not row(machine).online


def test_dead_gateway_is_buried_and_its_machines_last_seen_at_its_last_beat(machine):
    presence.beat("g1")
    presence.beat("g2")
    arrive(machine)
    silence("g1", 3600)
    presence.bury_dead_gateways()
    found = row(machine)
    assert found.connected_to == ""
    assert timedelta(minutes=59) < timezone.now() - found.disconnected_at < timedelta(minutes=61)


def test_living_gateway_is_not_buried(machine):
    presence.beat("g1")
    arrive(machine)
    presence.bury_dead_gateways()
    assert row(machine).online


def test_standing_names_who_was_revoked_and_who_is_believed_elsewhere(machine):
    arrive(machine)
    assert presence.find_standing("g1", [machine.pk], [machine.pk]) == []
    (elsewhere,) = presence.find_standing("g2", [machine.pk], [machine.pk])
    assert elsewhere.connected_to == "g1"
    assert 0 <= elsewhere.connected_ago < 60
    assert presence.find_standing("g2", [machine.pk], []) == []
    Machine.objects.update(state=MachineState.REVOKED)
    (revoked,) = presence.find_standing("g1", [machine.pk], [machine.pk])
    assert revoked.state == "revoked"
