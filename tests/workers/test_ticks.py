"""Ticks that run alone: of two beats' ticks at once one does the work, and a dead one blocks nobody."""

from __future__ import annotations

import threading
import time

import pytest
from django.db import connection

from backup_platform.jobs.ticks import run_alone

pytestmark = pytest.mark.django_db(transaction=True)
PATIENCE = 60


def in_a_thread(work) -> threading.Thread:
    def run() -> None:
        try:
            work()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_of_two_ticks_at_once_one_does_the_work(transactional_db):
    inside, go_on = threading.Event(), threading.Event()

    def long() -> None:
        inside.set()
        go_on.wait(PATIENCE)

    thread = in_a_thread(lambda: run_alone("schedule", long))
    try:
        assert inside.wait(PATIENCE)
        assert not run_alone("schedule", lambda: pytest.fail("two ticks at once"))
        assert run_alone("deliver", lambda: None), "another tick is not held up"
    finally:
        go_on.set()
        thread.join(PATIENCE)
    assert run_alone("schedule", lambda: None), "the next one works again"


def test_a_tick_that_fails_or_loses_its_database_blocks_nobody(transactional_db):
    with pytest.raises(ZeroDivisionError):
        run_alone("schedule", lambda: 1 / 0)
    in_a_thread(lambda: run_alone("schedule", connection.close)).join(PATIENCE)
    done, deadline = [], time.monotonic() + PATIENCE
    while not run_alone("schedule", lambda: done.append(1)):  # the server notices the end of a session soon
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert done == [1]
