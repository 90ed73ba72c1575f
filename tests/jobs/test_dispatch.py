"""Sending wake-ups: after commit, by name, and without costing anything when the broker is away."""

from __future__ import annotations

import json
import time
from uuid import uuid4

import pytest
import redis
from django.db import transaction

from backup_platform import dispatch


@pytest.fixture
def fresh(monkeypatch, servers):
    """Dispatch as a new process has it, with real Valkey and empty queues."""
    dispatch._producer_app.cache_clear()
    monkeypatch.setattr(dispatch, "_closed_until", 0.0)
    broker = redis.Redis.from_url(servers.valkey_url)
    broker.delete("bk:verify", "bk:control")
    yield broker
    dispatch._producer_app.cache_clear()


def test_a_message_goes_out_after_the_commit_with_an_id_only(transactional_db, fresh):
    job_id = uuid4()
    with transaction.atomic():
        dispatch.send("strongroom.verify_pack", "verify", job_id)
        assert dispatch.queue_length("verify") == 0
    assert dispatch.queue_length("verify") == 1
    message = json.loads(fresh.lpop("bk:verify"))
    assert message["headers"]["task"] == "strongroom.verify_pack"
    assert message["headers"]["argsrepr"] == f"['{job_id}']"
    assert message["content-type"] == "application/json"


def test_a_rolled_back_transaction_sends_nothing(transactional_db, fresh):
    with transaction.atomic():
        dispatch.send("strongroom.verify_pack", "verify", uuid4())
        transaction.set_rollback(True)
    assert dispatch.queue_length("verify") == 0


@pytest.mark.parametrize("address", ["redis://127.0.0.1:1/0", "redis+socket:///nowhere/valkey.sock"])
def test_a_broker_that_is_away_costs_next_to_nothing(transactional_db, fresh, settings, address):
    settings.CELERY_BROKER_URL = address
    dispatch._producer_app.cache_clear()
    start = time.monotonic()
    for _ in range(50):
        dispatch.send("strongroom.verify_pack", "verify", uuid4())
    assert dispatch.queue_length("verify") is None
    assert time.monotonic() - start < 2


def test_a_broker_that_does_not_answer_costs_seconds_at_most(transactional_db, fresh, settings):
    import socket

    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        settings.CELERY_BROKER_URL = f"redis://127.0.0.1:{deaf.getsockname()[1]}/0"
        dispatch._producer_app.cache_clear()
        start = time.monotonic()
        for _ in range(20):
            dispatch.send("strongroom.verify_pack", "verify", uuid4())
        assert time.monotonic() - start < 6


def test_sending_works_again_once_the_broker_is_back(transactional_db, fresh, settings, monkeypatch):
    there = settings.CELERY_BROKER_URL
    settings.CELERY_BROKER_URL = "redis://127.0.0.1:1/0"
    dispatch._producer_app.cache_clear()
    dispatch.send("strongroom.verify_pack", "verify", uuid4())
    settings.CELERY_BROKER_URL = there
    dispatch._producer_app.cache_clear()
    assert dispatch.queue_length("verify") is None, "it pauses after a failure"
    monkeypatch.setattr(dispatch, "_closed_until", 0.0)
    dispatch.send("strongroom.verify_pack", "verify", uuid4())
    assert dispatch.queue_length("verify") == 1
