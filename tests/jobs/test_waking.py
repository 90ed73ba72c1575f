"""Waking gateways: after the commit, many in one go, and without ever costing the waker anything."""

from __future__ import annotations

import socket
import time
from uuid import uuid4

import pytest
import redis
from django.db import transaction

from backup_platform.jobs import waking

PATIENCE = 30


@pytest.fixture
def ear(transactional_db, servers, monkeypatch):
    monkeypatch.setattr(waking, "_closed_until", 0.0)
    with redis.Redis.from_url(servers.valkey_url).pubsub(ignore_subscribe_messages=True) as ear:
        ear.subscribe(waking.CHANNEL)
        deadline = time.monotonic() + PATIENCE
        while not ear.subscribed or ear.get_message(timeout=0.1) is not None:
            assert time.monotonic() < deadline
        yield ear


def heard(ear, how_many: int) -> list[str]:
    names: list[str] = []
    deadline = time.monotonic() + PATIENCE
    while len(names) < how_many and time.monotonic() < deadline:
        message = ear.get_message(timeout=0.5)
        names += [message["data"].decode()] if message else []
    return names


def test_a_machine_is_named_after_the_commit_and_not_after_a_rollback(ear):
    lost, first, second = uuid4(), uuid4(), uuid4()
    with transaction.atomic():
        waking.wake(lost)
        transaction.set_rollback(True)
    with transaction.atomic():
        waking.wake_all([first, second])
    assert heard(ear, 2) == [first.hex, second.hex]


def test_many_machines_are_woken_by_one_word_to_everybody(ear):
    with transaction.atomic():
        waking.wake_all([uuid4() for _ in range(waking.MOST_NAMED + 1)])
    with transaction.atomic():
        waking.wake(last := uuid4())
    assert heard(ear, 2) == [waking.EVERYBODY, last.hex]


def test_nobody_waits_for_a_valkey_that_is_away_or_deaf(ear, settings):
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        for address in ("redis://127.0.0.1:1/0", f"redis://127.0.0.1:{deaf.getsockname()[1]}/0", "nonsense"):
            waking._closed_until = 0.0
            settings.REDIS_URL = address
            start = time.monotonic()
            for _ in range(50):
                waking.wake(uuid4())
            assert time.monotonic() - start < 10
