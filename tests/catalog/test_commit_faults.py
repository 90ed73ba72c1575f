"""A commit that breaks off anywhere publishes nothing or everything, and its repetition ends well."""

from __future__ import annotations

import pytest
from django.db import connection

from backup_platform.catalog import commit, publication, stores
from backup_platform.catalog.models import Session, Snapshot
from backup_platform.storage.base import StoreError
from backup_platform.storage.faulty import Failure, Fault, FaultyStore
from tests.catalog.stage import contents, digest, run_jobs, state_of


@pytest.mark.parametrize("failure", [Failure.INPUT_OUTPUT, Failure.NO_SPACE, Failure.AFTER_EFFECT])
@pytest.mark.parametrize("call", range(1, 7))
def test_a_store_that_fails_at_any_put(backup, machine, monkeypatch, call, failure):
    data = contents(2)
    begun = backup.begin()
    backup.send(data)
    proposed = backup.propose(data)
    real = stores.local_target()
    faulty = FaultyStore(real, [Fault("put", call, failure)])
    with monkeypatch.context() as patched:
        patched.setattr(publication.stores, "local_target", lambda: faulty)
        with pytest.raises(StoreError):
            proposed.send(machine, begun)
    assert not Snapshot.objects.exists()
    assert Session.objects.get().state == "open"
    answer = proposed.send(machine, begun)
    run_jobs()
    assert state_of(answer) == "verified"


def test_the_row_is_written_only_after_every_object_is_in_the_store(backup, machine, monkeypatch):
    """Law 1's order, seen from the inside: when the objects are put, no row says that they are there."""
    data = contents(1)
    begun = backup.begin()
    backup.send(data)
    rows = []
    real = publication.publish

    def watch(*args):
        published = real(*args)
        rows.append(Snapshot.objects.count())
        assert any(key.endswith(".root") for key in stores.local_target().list())
        return published

    monkeypatch.setattr(commit, "publish", watch)
    backup.propose(data).send(machine, begun)
    assert rows == [0]
    assert Snapshot.objects.count() == 1


def test_a_crash_between_the_objects_and_the_row_is_made_good_by_the_repetition(backup, machine, monkeypatch):
    data = contents(2)
    begun = backup.begin()
    backup.send(data)
    proposed = backup.propose(data)
    with monkeypatch.context() as patched:
        patched.setattr(commit, "_decide", lambda *_: (_ for _ in ()).throw(SystemExit(9)))
        with pytest.raises(SystemExit):
            proposed.send(machine, begun)
    proposed.recipients = [proposed.recipients[0][:-1] + b"?"]  # the restarted agent wrapped the key again
    answer = proposed.send(machine, begun)
    run_jobs()
    assert state_of(answer) == "verified"
    snapshot = Snapshot.objects.get()
    held = stores.local_target().get(stores.recipients_key(machine.tenant_id, machine.vault_id, snapshot.pk))
    assert held == bytes(snapshot.recipients)


def test_what_went_missing_between_the_question_and_the_decision_is_noticed_under_the_lock(
    backup, machine, vault, monkeypatch
):
    data = contents(2)
    begun = backup.begin()
    backup.send(data)
    real = publication.publish

    def lose(*args):
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM catalog_arrival WHERE id = %s", [backup_id])
        return real(*args)

    backup_id = digest(data[0])
    monkeypatch.setattr(commit, "publish", lose)
    assert backup.propose(data).send(machine, begun) == commit.MissingIds([backup_id])
    assert not Snapshot.objects.exists()
