"""/healthz, /readyz and /metrics."""

from __future__ import annotations

import socket
from datetime import timedelta

import pytest
from django.db import OperationalError
from django.utils import timezone

from backup_platform.console import parts
from backup_platform.jobs.models import WorkerBeat


@pytest.fixture
def gateway(settings):
    """Something that accepts connections where the gateway would."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings.STRONGROOM_GATEWAY_PORT = server.getsockname()[1]
        yield server


@pytest.fixture
def worker(db):
    return WorkerBeat.objects.create(name="w", seen_at=timezone.now())


def failing_parts(client):
    answer = client.get("/readyz")
    body = answer.json()
    failing = {name for name, part in body["parts"].items() if not part["ok"]}
    assert answer.status_code == (503 if failing else 200)
    assert body["status"] == ("not ready" if failing else "ready")
    return failing


def test_healthz_needs_nothing(client):
    """No `db` fixture: any query would fail this test."""
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})
    assert "no-store" in answer["Cache-Control"]


def test_ready_when_every_part_is(client, worker, gateway):
    assert failing_parts(client) == set()


def test_a_worker_that_is_silent_for_a_minute_is_not_at_work(client, worker, gateway):
    WorkerBeat.objects.update(seen_at=timezone.now() - timedelta(seconds=61))
    assert failing_parts(client) == {"worker"}
    WorkerBeat.objects.all().delete()
    assert failing_parts(client) == {"worker"}


def test_a_gateway_that_refuses_is_named(client, worker, gateway, settings):
    gateway.close()
    assert failing_parts(client) == {"gateway"}
    settings.STRONGROOM_GATEWAY_PORT, settings.STRONGROOM_GATEWAY_ADDRESS = 0, ""
    assert failing_parts(client) == {"gateway"}


def test_a_broker_that_is_away_is_named_without_its_password(client, worker, gateway, settings):
    settings.REDIS_URL = "redis://:a-secret-password@127.0.0.1:1/0"
    assert failing_parts(client) == {"broker"}
    assert "a-secret-password" not in client.get("/readyz").content.decode()


def test_a_database_that_is_away_is_an_answer_and_no_traceback(client, db, gateway, monkeypatch):
    class Away:
        settings_dict = {"NAME": "away"}

        def cursor(self):
            raise OperationalError("password authentication failed for strongroom_app")

    monkeypatch.setattr(parts, "connection", Away())
    monkeypatch.setattr(parts, "worker_seen_at", lambda: Away().cursor())
    monkeypatch.setattr(parts, "check_migrations", lambda: Away().cursor())
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["parts"]["database"] == {"ok": False, "detail": "does not answer"}
    assert "strongroom_app" not in answer.content.decode()


def test_an_unmigrated_database_is_not_ready(db, monkeypatch):
    monkeypatch.setattr(parts, "_migrated", {})
    monkeypatch.setattr(parts.MigrationExecutor, "migration_plan", lambda self, targets: [("a migration", False)])
    assert not parts.check_migrations().ok
    monkeypatch.undo()
    assert parts.check_migrations().ok


def test_metrics_need_staff_or_the_token(client, boss, member, stranger, monkeypatch):
    for visitor in (client, member, stranger):
        assert visitor.get("/metrics").status_code == 401
    assert boss.get("/metrics").status_code == 200
    bearer = {"Authorization": "Bearer 0123456789abcdef"}
    assert client.get("/metrics", headers=bearer).status_code == 401
    monkeypatch.setenv("STRONGROOM_METRICS_TOKEN", "0123456789abcdef")
    assert client.get("/metrics", headers=bearer).status_code == 200
    assert client.get("/metrics", headers={"Authorization": "Bearer "}).status_code == 401
    monkeypatch.setenv("STRONGROOM_METRICS_TOKEN", "short")
    assert client.get("/metrics", headers={"Authorization": "Bearer short"}).status_code == 401


def test_metrics_count_and_name_nobody(boss):
    text = boss.get("/metrics").content.decode()
    for line in (
        'strongroom_machines{state="active"} 2.0',
        'strongroom_snapshots{state="received"} 2.0',
        'strongroom_jobs{state="failed"} 0.0',
        "strongroom_machines_online 2.0",
        "strongroom_storage_used_bytes 1.34217728e+08",
    ):
        assert line in text
    assert "ours" not in text
    assert "theirs" not in text
