"""What a real bucket's worst days come to: away for an hour, deleted, refusing, with another time, or with a clock here
that jumps. Nobody takes any of it for damage or absence, nothing here goes, and all of it is caught up with.

The bucket is a real server's; `tests/faulty_s3.py` makes it fail on the way. Hours are a clock that the test moves.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from botocore import auth
from django.utils import timezone

from backup_platform.catalog.errors import RecordLost, RecordUnavailable
from backup_platform.catalog.models import Copy, Pack, Snapshot, Wanted
from backup_platform.catalog.reading import PackReader, _rows
from backup_platform.notifications.models import Alert
from backup_platform.storage.s3_wire import Patience as Waiting
from backup_platform.targets import buckets
from backup_platform.targets.models import Target
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.tiering import ticking
from backup_platform.tiering.evicting import GRACE, unlink_due
from backup_platform.tiering.models import EvictWhen, Patience, TierRule
from backup_platform.tiering.services import start_drain
from backup_platform.upkeep.scrub_now import scrub_everything
from tests.catalog.stage import Backup, contents, digest
from tests.faulty_s3 import FaultyS3, S3Fault
from tests.rebuild.stage import run_jobs as run_every_job
from tests.tiering.stage import comes_back, forget_cache, local_files, run_all, tick, ticks, wake_all
from tests.upkeep.reclaim_stage import compact, let_expire, run_round

pytestmark = pytest.mark.slow
LATER = GRACE + timedelta(minutes=1)
REFUSALS = {
    "InvalidAccessKeyId": "were revoked",
    "SignatureDoesNotMatch": "credentials are refused",
    "AccessDenied": "lack a right",
    "RequestTimeTooSkewed": "set the clock",
}


class Clock:
    """A time that the test moves; it does not run."""

    def __init__(self) -> None:
        self.at: datetime = timezone.now()

    def __call__(self) -> datetime:
        return self.at


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("django.utils.timezone.now", clock)
    return clock


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One attempt a call: that calls are repeated is looked at elsewhere."""
    monkeypatch.setattr(buckets, "PATIENCE", Waiting(connect=10, silence=60, attempts=1))
    buckets._kept.clear()
    yield
    buckets._kept.clear()


@dataclass
class Elsewhere:
    """A bucket that holds all packs; `gone` are the contents of those that are there only, `here` are here as well."""

    target: Target
    rule: TierRule
    gone: list[bytes]
    here: list[bytes]

    @property
    def row(self) -> Target:
        with without_tenant_scope("test"):
            return Target.objects.get(pk=self.target.pk)

    def alerts(self) -> int:
        """How many open alerts are about it."""
        with without_tenant_scope("test"):
            return Alert.objects.filter(subject=f"target:{self.target.pk}", resolved_at__isnull=True).count()


@pytest.fixture
def elsewhere(backup: Backup, s3_target_row: Callable[..., Target], faulty_s3: FaultyS3, make_rule) -> Elsewhere:
    """Two packs are in the bucket only, two more here and there."""
    rule = make_rule(s3_target_row(url=faulty_s3.url), evict_when=EvictWhen.DAYS)
    gone, here = contents(4, 8_000), contents(4, 8_000)
    for data in (gone[:2], gone[2:]):
        backup.run(data)
        run_all()
    ticks(lambda: Pack.objects.filter(place="remote").count() == 2, most=10)
    unlink_due(timezone.now() + LATER)
    set_rule(rule, evict_when=EvictWhen.NEVER)
    for data in (here[:2], here[2:]):
        backup.run(data)
        run_all()
    ticks(lambda: Copy.objects.filter(state="good").count() == 4, most=10)
    forget_cache()
    return Elsewhere(rule.target, rule, gone, here)


def set_rule(rule: TierRule, **fields: object) -> None:
    with without_tenant_scope("test"):
        TierRule.objects.filter(pk=rule.pk).update(**fields)


def read(vault, data: list[bytes]) -> None:
    """Read as a restore does, by nobody's memory."""
    _rows.clear()
    forget_cache()
    for content in data:
        assert PackReader(vault.number).read_one(digest(content)).sealed == content


def nothing_is_said_to_be_lost(vault, elsewhere: Elsewhere) -> None:
    """The bucket could not be asked: so nobody says anything about what is in it, and what is here reads on."""
    read(vault, elsewhere.here)
    with pytest.raises(RecordUnavailable):
        read(vault, elsewhere.gone)
    found = scrub_everything()
    assert found.damaged == []
    assert found.unread, "what could not be read is named"
    assert not Snapshot.objects.exclude(state="verified").exists()
    assert not Copy.objects.exclude(state="good").exists()
    assert not Wanted.objects.exists()


def test_a_bucket_that_is_away_for_an_hour_is_waited_for_and_caught_up_with(
    elsewhere, vault, backup, faulty_s3, clock: Clock
):
    faulty_s3.refuse = True
    new: list[bytes] = []
    most_failures = 0
    for minute in range(60):
        clock.at += timedelta(minutes=1)
        if minute % 20 == 0:
            data = contents(2, 8_000)
            backup.run(data)
            new += data
        tick()
        with without_tenant_scope("test"):
            most_failures = max(most_failures, *Patience.objects.values_list("failures", flat=True), 0)
    assert 3 <= most_failures < 30, "it is asked less and less, and not given up"
    assert elsewhere.row.away_since is not None
    assert elsewhere.alerts() == 1
    assert len(local_files()) == 5, "backups went on"
    nothing_is_said_to_be_lost_of_the_old(vault, elsewhere)
    read(vault, new)
    faulty_s3.calm()
    for _ in range(30):
        clock.at += timedelta(minutes=1)
        tick()
    assert Copy.objects.filter(state="good").count() == Pack.objects.count() == 7
    assert elsewhere.row.away_since is None
    assert elsewhere.alerts() == 0
    assert comes_back(vault, [*elsewhere.gone, *elsewhere.here, *new])
    assert scrub_everything().damaged == []


def nothing_is_said_to_be_lost_of_the_old(vault, elsewhere: Elsewhere) -> None:
    read(vault, elsewhere.here)
    with pytest.raises(RecordUnavailable):
        read(vault, elsewhere.gone)
    assert scrub_everything().damaged == []
    assert not Snapshot.objects.exclude(state="verified").exists()
    assert not Copy.objects.exclude(state__in=["good", "writing"]).exists()


@pytest.mark.parametrize("code", REFUSALS)
def test_a_bucket_that_refuses_has_said_nothing_about_what_is_in_it(elsewhere, vault, faulty_s3, code: str):
    faulty_s3.denied, faulty_s3.denied_code = True, code
    set_rule(elsewhere.rule, evict_when=EvictWhen.DAYS)
    for _ in range(4):
        wake_all()
        tick()
    assert len(local_files()) == 2, "what cannot be read back there does not leave here"
    nothing_is_said_to_be_lost(vault, elsewhere)
    assert elsewhere.row.away_since is not None
    with without_tenant_scope("test"):
        told = Alert.objects.get(subject=f"target:{elsewhere.target.pk}", resolved_at__isnull=True)
    assert REFUSALS[code] in told.text + told.advice, "people hear what to do"
    faulty_s3.calm()
    ticks(lambda: not Pack.objects.exclude(place="remote").exists(), most=20)
    read(vault, [*elsewhere.gone, *elsewhere.here])
    assert elsewhere.alerts() == 0


def test_reclaim_and_draining_wait_for_a_bucket_that_refuses(elsewhere, vault, faulty_s3, backup):
    faulty_s3.denied = True
    oldest = Snapshot.objects.order_by("received_at").first()
    let_expire(oldest.pk)
    run_every_job()
    outcome = run_round(vault)
    assert outcome.unlinked_packs == 0
    assert outcome.later, "the file at the bucket is still to go"
    start_drain(elsewhere.target, "user boss")
    for _ in range(3):
        wake_all()
        tick()
    assert elsewhere.row.state == "draining"
    faulty_s3.calm()
    assert run_round(vault, begin=False).unlinked_packs == 1
    read(vault, [*elsewhere.gone[2:], *elsewhere.here])


def test_a_deleted_bucket_is_away_and_one_that_was_made_anew_is_empty(elsewhere, vault, backup, s3_server):
    empty_and_delete(s3_server, elsewhere.target.bucket)
    nothing_is_said_to_be_lost(vault, elsewhere)
    for _ in range(3):
        wake_all()
        tick()
    s3_server.client().create_bucket(Bucket=elsewhere.target.bucket)
    wake_all()
    assert scrub_everything().damaged, "now the service itself says that nothing is there"
    run_all()
    with pytest.raises((RecordLost, RecordUnavailable)):
        read(vault, elsewhere.gone)
    assert {bytes(row) for row in Wanted.objects.values_list("chunk_id", flat=True)} >= {
        digest(content) for content in elsewhere.gone
    }
    ticks(lambda: Copy.objects.filter(state="good").count() == 2, most=20)
    read(vault, elsewhere.here)
    backup.run(elsewhere.gone, elsewhere.here)  # the machine still has what was lost, and is asked for it
    run_all()
    read(vault, [*elsewhere.gone, *elsewhere.here])
    assert Snapshot.objects.order_by("-received_at").first().state == "verified"


def empty_and_delete(s3_server, bucket: str) -> None:
    client = s3_server.client()
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for found in page.get("Contents", []):
            client.delete_object(Bucket=bucket, Key=found["Key"])
    client.delete_bucket(Bucket=bucket)


def test_a_clock_here_that_is_hours_wrong_is_told_and_costs_nothing(elsewhere, vault, monkeypatch):
    """The signature of each request bears this host's time; a real server refuses what is too far from its own."""
    real = auth.get_current_datetime
    with monkeypatch.context() as wrong:
        wrong.setattr(auth, "get_current_datetime", lambda *args, **more: real(*args, **more) + timedelta(hours=5))
        nothing_is_said_to_be_lost(vault, elsewhere)
    read(vault, [*elsewhere.gone, *elsewhere.here])


def test_a_clock_that_jumps_to_and_fro_decides_nothing(elsewhere, vault, backup, clock: Clock):
    seed = random.SystemRandom().randrange(10**6)
    print(f"clock: seed {seed}")
    chance, start = random.Random(seed), clock.at
    data = [*elsewhere.gone, *elsewhere.here]
    set_rule(elsewhere.rule, evict_when=EvictWhen.DAYS)
    work = [
        tick,
        run_all,
        ticking.watch,
        lambda: run_round(vault),
        lambda: compact(vault),
        unlink_due,
        scrub_everything,
    ]
    for _ in range(30):
        clock.at = start + timedelta(days=chance.randrange(-400, 400))
        if chance.random() < 0.2:
            data += (more := contents(2, 8_000))
            backup.run(more)
        chance.choice(work)()
        assert comes_back(vault, data)
    clock.at = start + timedelta(days=401)
    ticks(lambda: not Pack.objects.filter(place="target", unlink_at__isnull=True).exists(), most=30)
    read(vault, data)
    assert not Snapshot.objects.exclude(state="verified").exists()


def test_a_failed_listing_does_not_make_a_drained_bucket_empty(elsewhere, vault, faulty_s3):
    start_drain(elsewhere.target, "user boss")
    faulty_s3.share, faulty_s3.kinds = 1.0, {S3Fault.FAILED_LIST}
    for _ in range(6):
        hour_passes()
    assert elsewhere.row.state == "draining", "who could not list it has not seen that it is empty"
    faulty_s3.calm()
    for _ in range(6):
        hour_passes()
    assert elsewhere.row.state == "retired"
    read(vault, [*elsewhere.gone, *elsewhere.here])


def test_a_stale_listing_of_a_drained_bucket_leaves_something_behind_and_loses_nothing(elsewhere, vault, faulty_s3):
    start_drain(elsewhere.target, "user boss")
    faulty_s3.share, faulty_s3.kinds = 1.0, {S3Fault.STALE_LIST}
    for _ in range(6):
        hour_passes()
    assert faulty_s3.counts[S3Fault.STALE_LIST] > 0
    assert elsewhere.row.state == "retired"
    read(vault, [*elsewhere.gone, *elsewhere.here])


def hour_passes() -> None:
    Copy.objects.filter(state="leaving").update(leaves_at=timezone.now() - timedelta(seconds=1))
    wake_all()
    tick()
