"""Targets that are slow and never fail: what trickles is cut and left alone for a while, what is only slow gets there.

The bucket is a real server's, behind a line of so many bytes a second (tests/slow_line.py). What is measured in minutes
for packs of 64 MiB is measured in seconds here: the least honest rate is a faster one.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from django.utils import timezone

from backup_platform.catalog import stores
from backup_platform.catalog.errors import RecordUnavailable
from backup_platform.catalog.leases import pack_lease
from backup_platform.catalog.models import Copy, Pack, PackPlace
from backup_platform.jobs import renewing
from backup_platform.jobs.models import Job
from backup_platform.jobs.services import renew
from backup_platform.notifications.models import Alert
from backup_platform.storage import pace
from backup_platform.storage.base import StoreUnavailable
from backup_platform.targets import buckets
from backup_platform.targets.admin import standing
from backup_platform.targets.models import Target
from backup_platform.targets.watching import look_again
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.tiering import copying, patience
from backup_platform.tiering import jobs as tiering
from backup_platform.tiering.copying import copy_to
from backup_platform.tiering.models import EvictWhen, Patience
from backup_platform.tiering.recalling import bring_home, recall
from backup_platform.tiering.services import start_drain
from tests.slow_line import SlowLine
from tests.tiering.stage import forget_cache, run_all, tick, ticks, wake_all

pytestmark = pytest.mark.slow
MIB = 2**20
SIZE = 20 * MIB
"""Three parts of an upload."""


@pytest.fixture
def data() -> list[bytes]:
    return [os.urandom(4 * MIB) for _ in range(5)]


@pytest.fixture
def line(s3_server) -> Iterator[SlowLine]:
    buckets._kept.clear()
    with SlowLine(s3_server.url, rate=None) as line:
        yield line
    buckets._kept.clear()


@pytest.fixture
def bucket(pack, line, s3_target_row: Callable[..., Target], make_rule) -> Target:
    """Where a pack of three parts is due, behind the line."""
    target = s3_target_row(url=line.url)
    make_rule(target)
    return target


@pytest.fixture
def seconds_for_minutes(monkeypatch) -> None:
    """A pack of this test's size may take six seconds."""
    monkeypatch.setattr(pace, "HEAD_START", 1.0)
    monkeypatch.setattr(pace, "LEAST_RATE", SIZE / 5)
    monkeypatch.setattr(pace, "LOOK_SECONDS", 0.1)


def row_of(target: Target) -> Target:
    with without_tenant_scope("test"):
        return Target.objects.get(pk=target.pk)


def parts_left(s3_server, target: Target) -> list:
    """The uploads that nobody finished, as the service lists them."""
    return s3_server.client().list_multipart_uploads(Bucket=target.bucket).get("Uploads", [])


def alerts_about(target: Target) -> list[Alert]:
    with without_tenant_scope("test"):
        return list(Alert.objects.filter(subject=f"target:{target.pk}", resolved_at__isnull=True))


def test_a_trickling_upload_is_cut_is_the_targets_trouble_and_succeeds_on_a_better_line(
    bucket, line, s3_server, seconds_for_minutes
):
    line.rate = 300_000
    began = time.monotonic()
    tick()
    assert time.monotonic() - began < 60, (
        "at this rate it would have taken 70 seconds, and the workers' limit nine minutes"
    )
    assert Copy.objects.get().state == "writing"
    assert not parts_left(s3_server, bucket)
    found = row_of(bucket)
    assert found.away_since is not None
    assert found.fault.startswith("It is too slow: ")
    assert "A pack needs" in found.fault
    assert "too slow" in alerts_about(bucket)[0].text
    assert not Job.objects.filter(state="failed").exists()
    with without_tenant_scope("test"):
        assert Patience.objects.get().next_try_at > timezone.now() + timedelta(seconds=3), "it rests"
    line.rate = None
    ticks(lambda: Copy.objects.get().state == "good", most=5)
    assert row_of(bucket).away_since is None
    assert not alerts_about(bucket)


def test_a_target_that_is_too_slow_is_told_so_on_its_page(bucket, line, seconds_for_minutes):
    line.rate = 300_000
    tick()
    said = standing._away(row_of(bucket))
    assert said.sentence == "It is too slow for packs."
    assert "It is too slow: " in said.advice
    assert "one pack at a time" in said.advice


def test_that_small_things_go_well_does_not_call_a_slow_target_back(bucket, line, seconds_for_minutes):
    line.rate = 300_000
    tick()
    line.rate = None
    look_again()
    patience.note_success(row_of(bucket), whole_pack=False)
    assert row_of(bucket).away_since is not None, "it answered before as well"
    with without_tenant_scope("test"):
        assert Patience.objects.exists()


def test_a_slow_line_above_the_least_rate_gets_there_in_two_turns(bucket, line, seconds_for_minutes, monkeypatch):
    monkeypatch.setattr(copying, "LONG_TURN", timedelta(seconds=1))
    line.rate = SIZE / 3.5
    tick()
    (job,) = Job.objects.filter(kind="tier", subject__contains="@")
    assert (job.state, job.attempts) == ("queued", 0)
    assert job.last_error == "The pack was put there. It is read back next."
    assert Copy.objects.get().state == "writing", "nothing counts before it was read back"
    sent = line.sent
    wake_all()
    run_all()
    assert Copy.objects.get().state == "good"
    assert line.sent - sent < MIB, "it was not sent twice"
    assert row_of(bucket).away_since is None


def test_a_claim_is_kept_while_one_part_is_on_its_way(bucket, line, monkeypatch):
    monkeypatch.setattr(tiering, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(pace, "LOOK_SECONDS", 0.05)
    beats: list[int] = []
    renew = tiering.renew

    def counted(job: Job, progress: dict) -> bool:
        beats.append(progress["bytes_done"])
        return renew(job, progress)

    monkeypatch.setattr(tiering, "renew", counted)
    line.rate = SIZE / 3
    tick()
    assert Copy.objects.get().state == "good"
    assert len({done for done in beats if 0 < done < 8 * MIB}) > 1, "it was renewed before the first part was through"


def test_reading_back_is_held_to_the_same_pace(bucket, pack, line, seconds_for_minutes):
    tick()
    assert Copy.objects.get().state == "good"
    Copy.objects.update(state="writing")
    line.rate = 300_000
    began = time.monotonic()
    tick()
    assert time.monotonic() - began < 60
    assert Copy.objects.get().state == "writing", "an error is not absence, nor damage"
    assert row_of(bucket).fault.startswith("It is too slow: ")


@pytest.mark.defence
def test_a_pack_is_brought_home_at_the_same_pace(bucket, pack, line, seconds_for_minutes):
    """Who drains a target has nothing but what that target gives; it may hold nobody for as long as it likes."""
    with pack_lease(pack.pk) as held:
        assert copy_to(held, bucket)
    path = pack.path
    stores.local_target().delete(path)
    Pack.objects.filter(pk=pack.pk).update(place=PackPlace.REMOTE)
    forget_cache()
    line.rate, beats = 1_000_000, []
    began = time.monotonic()
    with pytest.raises((RecordUnavailable, StoreUnavailable)), pack_lease(pack.pk) as held:
        bring_home(held, beats.append)
    assert time.monotonic() - began < 15, "at this rate it would have taken twenty seconds"
    assert beats, "meanwhile the claim is kept"
    line.rate = None
    assert recall(pack.pk)
    assert stores.local_target().exists(path)


def test_a_worker_that_is_told_to_stop_ends_the_upload_at_once_and_leaves_no_parts(
    bucket, pack, line, s3_server, monkeypatch
):
    monkeypatch.setattr(pace, "LOOK_SECONDS", 0.05)
    line.rate = 200_000

    def told(_: int) -> None:
        if line.sent > MIB // 4:  # the parts are on their way
            raise SoftTimeLimitExceeded

    began = time.monotonic()
    with pack_lease(pack.pk) as mine, pytest.raises(SoftTimeLimitExceeded):
        copy_to(mine, bucket, told)
    assert time.monotonic() - began < 60
    assert not parts_left(s3_server, bucket)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("part")]


def test_a_drain_that_sends_one_pack_for_long_keeps_its_claim(
    pack, line, make_target, make_rule, s3_target_row, monkeypatch
):
    old = make_target()
    make_rule(old, evict_when=EvictWhen.DAYS)
    ticks(lambda: Pack.objects.get().place == "remote", most=5)
    make_rule(s3_target_row(url=line.url))
    monkeypatch.setattr(pace, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(tiering, "paced_renewal", lambda job: renewing.paced_renewal(job, pace=0.1))
    renewed: list[bool] = []
    monkeypatch.setattr(renewing, "renew", lambda job: renewed.append(renew(job)) or renewed[-1])
    start_drain(row_of(old), "user boss")
    line.rate = SIZE / 3
    tick()
    assert Copy.objects.get(target=old).state == "leaving"
    assert len(renewed) > 5, "while the pack was sent to where it is to lie from now on"
    assert all(renewed)


def test_parts_that_a_killed_worker_left_are_removed_by_the_next_attempt(bucket, pack, s3_server):
    key, client = stores.pack_key(pack.tenant_id, pack.vault_id, pack.uid), s3_server.client()
    for name in (key, f"{key}-not"):
        upload = client.create_multipart_upload(Bucket=bucket.bucket, Key=name)["UploadId"]
        client.upload_part(Bucket=bucket.bucket, Key=name, UploadId=upload, PartNumber=1, Body=os.urandom(5 * MIB))
    Copy.objects.create(pack=pack, target=bucket, tenant_id=pack.tenant_id, key=key, bytes=pack.bytes, state="writing")
    tick()
    assert Copy.objects.get().state == "good"
    assert [one["Key"] for one in parts_left(s3_server, bucket)] == [f"{key}-not"], "and nobody else's"


def test_what_is_read_from_elsewhere_is_not_the_targets_slowness(monkeypatch):
    class Elsewhere:
        def read(self, size: int) -> bytes:
            time.sleep(0.3)
            return b"x"

    monkeypatch.setattr(pace, "HEAD_START", 0.2)
    with pace.at_least(0) as mine:
        source = pace.PacedSource(Elsewhere(), mine)
        assert [source.read(1) for _ in range(2)] == [b"x", b"x"]
        assert not mine.is_over


def test_a_pack_of_any_size_is_cut_before_its_task_is():
    from workers.tasks import LONG

    assert pace.allowance(64 * MIB) > 64 * MIB / 125_000 * 1.5, "a line of 1 Mbit/s has time to spare"
    assert pace.allowance(10**12) == pace.LONGEST < LONG["soft_time_limit"] < LONG["time_limit"] < 1800
