"""The dead man's ping goes out while all is well, and stays away otherwise."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from backup_platform.fleet.models import GatewayBeat
from backup_platform.jobs.liveness import beat
from backup_platform.jobs.models import WorkerBeat
from backup_platform.notifications import monitor
from backup_platform.notifications.models import Turn
from tests.notifications.receivers import Behaviour

pytestmark = pytest.mark.django_db


@pytest.fixture
def all_well(db, everywhere, settings, receiver, monkeypatch):
    settings.STRONGROOM_MONITOR_URL = receiver.url("/ping/abc")
    monkeypatch.setattr(monitor, "EVERY", timedelta(0))
    beat("worker")
    GatewayBeat.objects.create(name="gw", seen_at=timezone.now())


def test_while_all_is_well_the_monitor_is_told(all_well, receiver):
    assert monitor.ping_when_due()
    assert [(hit.method, hit.path) for hit in receiver.hits] == [("GET", "/ping/abc")]
    assert Turn.objects.get().note == "Pinged."


@pytest.mark.parametrize("model", [WorkerBeat, GatewayBeat])
@pytest.mark.parametrize("how", ["late", "never"])
def test_without_a_worker_or_a_gateway_it_is_told_nothing(all_well, receiver, model, how):
    if how == "late":
        model.objects.update(seen_at=timezone.now() - timedelta(seconds=90))
    else:
        model.objects.all().delete()
    assert not monitor.ping_when_due()
    assert receiver.hits == []
    assert Turn.objects.get().note.startswith("Not pinged: no ")


def test_once_a_minute_is_enough(all_well, receiver, monkeypatch):
    monkeypatch.setattr(monitor, "EVERY", timedelta(seconds=55))
    for _ in range(3):
        monitor.ping_when_due()
    assert len(receiver.hits) == 1


def test_no_address_no_ping(all_well, receiver, settings):
    settings.STRONGROOM_MONITOR_URL = ""
    assert not monitor.ping_when_due()


def test_a_monitor_that_is_away_is_noted_and_breaks_nothing(all_well, receiver, settings):
    receiver.behaviour = Behaviour(302, {"location": "/elsewhere"})
    assert not monitor.ping_when_due()
    assert "302" in Turn.objects.get().note
    settings.STRONGROOM_MONITOR_URL = "http://127.0.0.1:1/ping"
    assert not monitor.ping_when_due()
    assert "refused" in Turn.objects.get().note
    assert len(receiver.hits) == 1
