"""Sessions: one per machine, leases, fences, takeover, abandonment."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from backup_platform.catalog import arrivals, sessions
from backup_platform.catalog.errors import Busy, Fenced
from backup_platform.catalog.models import Pack, Session, Wanted
from tests.catalog.stage import CHUNK, PackFile, contents


def expire_lease() -> None:
    Session.objects.update(lease_until=timezone.now() - timedelta(seconds=1))


def test_a_second_backup_while_one_is_live_is_busy_and_says_for_how_long(backup):
    backup.begin()
    with pytest.raises(Busy) as refusal:
        backup.begin()
    assert 0 < refusal.value.retry_after <= 60


def test_after_the_lease_a_begin_takes_over_with_a_higher_fence(backup):
    first = backup.begin()
    expire_lease()
    second = backup.begin()
    assert (second.session, second.fence) == (first.session, first.fence + 1)


def test_a_released_session_is_resumed_at_once(backup):
    first = backup.begin()
    assert sessions.release_session(first.session, first.fence)
    assert backup.begin().session == first.session


def test_releasing_with_an_old_fence_does_nothing(backup):
    first = backup.begin()
    expire_lease()
    backup.begin()
    assert not sessions.release_session(first.session, first.fence)
    with pytest.raises(Busy):
        backup.begin()


def test_an_ended_session_is_never_resumed(backup):
    first = backup.begin()
    sessions.end_session(first.session, first.fence)
    assert backup.begin().session != first.session


def test_renewing_prolongs_the_lease_and_fails_after_a_takeover(backup):
    first = backup.begin()
    assert sessions.renew_session(first.session, first.fence) > timezone.now() + timedelta(seconds=50)
    expire_lease()
    backup.begin()
    with pytest.raises(Fenced):
        sessions.renew_session(first.session, first.fence)


def test_an_older_connection_can_write_nothing_more(backup, vault):
    first = backup.begin()
    file = PackFile(vault)
    pack = arrivals.open_pack(first.session, first.fence, uid=file.uid, spool="spool-1")
    row = file.append(CHUNK, b"late")
    expire_lease()
    backup.begin()
    with pytest.raises(Fenced):
        arrivals.record_arrivals(first.session, first.fence, pack.pk, [row])
    with pytest.raises(Fenced):
        arrivals.open_pack(first.session, first.fence, uid=PackFile(vault).uid, spool="spool-1")
    assert arrivals.rows_of_pack(pack.pk) == []
    assert Pack.objects.count() == 1


def test_sessions_are_abandoned_after_fourteen_idle_days_only(backup):
    backup.begin()
    Session.objects.update(last_seen_at=timezone.now() - timedelta(days=13, hours=23))
    assert sessions.abandon_idle_sessions() == 0
    Session.objects.update(last_seen_at=timezone.now() - timedelta(days=14, hours=1))
    assert sessions.abandon_idle_sessions() == 1
    assert Session.objects.get().state == "abandoned"


def test_begin_tells_what_is_wanted_of_this_machine(backup, machine, vault):
    Wanted.objects.create(vault=vault, machine=machine, chunk_id=b"w" * 32)
    assert backup.begin().wanted == [b"w" * 32]


def test_recording_the_same_arrivals_again_changes_nothing(backup, vault):
    begun = backup.begin()
    file = PackFile(vault)
    pack = arrivals.open_pack(begun.session, begun.fence, uid=file.uid, spool="spool-1")
    rows = [file.append(CHUNK, c) for c in contents(3)]
    for _ in range(2):
        arrivals.record_arrivals(begun.session, begun.fence, pack.pk, rows)
    assert arrivals.rows_of_pack(pack.pk) == rows


def test_nothing_arrives_in_a_sealed_or_foreign_pack(backup):
    backup.begin()
    pack = backup.send_records([(CHUNK, b"one")])
    row = arrivals.Arrival(1, b"i" * 32, 1000, 5)
    with pytest.raises(ValueError, match="open pack"):
        arrivals.record_arrivals(backup.begun.session, backup.begun.fence, pack.pk, [row])


def test_an_open_pack_is_discarded_only_while_it_is_empty(backup, vault):
    begun = backup.begin()
    empty = arrivals.open_pack(begun.session, begun.fence, uid=PackFile(vault).uid, spool="spool-1")
    arrivals.discard_pack(empty.pk)
    arrivals.discard_pack(empty.pk)
    full = backup.send_records([(CHUNK, b"one")], seal=False)
    with pytest.raises(ValueError, match="without arrivals"):
        arrivals.discard_pack(full.pk)
    assert arrivals.open_packs("spool-1") == [full]


def test_sealing_twice_is_sealing_once(backup):
    backup.begin()
    pack = backup.send_records([(CHUNK, b"one")])
    arrivals.seal_pack(pack.pk, b"other digest", 1, 1)
    again = Pack.objects.get(pk=pack.pk)
    assert (again.bytes, again.records) == (pack.bytes, 1)


def test_lease_from_before_the_clock_was_set_back_keeps_nobody_waiting(machine):
    old = sessions.begin_session(machine, "spool-1")
    Session.objects.update(lease_until=timezone.now() + timedelta(hours=1))
    begun = sessions.begin_session(machine, "spool-1")
    assert (begun.session, begun.fence) == (old.session, old.fence + 1)
    with pytest.raises(Fenced):
        sessions.renew_session(old.session, old.fence)
