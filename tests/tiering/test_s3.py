"""The same promises with a real S3 server, and with one that fails as clouds do."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from backup_platform.catalog.models import Copy, Pack, SnapshotCopy
from backup_platform.targets.models import Target
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.tiering import ticking
from backup_platform.tiering.evicting import GRACE, unlink_due
from backup_platform.tiering.models import EvictWhen
from tests.catalog.stage import contents
from tests.faulty_s3 import S3Fault
from tests.tiering.stage import comes_back, forget_cache, local_files, run_all, tick, ticks

pytestmark = pytest.mark.slow
LATER = GRACE + timedelta(minutes=1)


@pytest.fixture
def several(backup) -> list[list[bytes]]:
    """Four packs, one of them of several blocks of a range read."""
    kept = []
    for size in (5_000, 8_000, 900_000, 6_000):
        kept.append(contents(6, size))
        backup.run(*kept)
        run_all()
    return kept


def all_gone_from_here() -> bool:
    return not Pack.objects.exclude(place="remote").exists()


def test_packs_go_to_a_real_bucket_and_all_of_it_comes_back_from_there_alone(several, vault, s3_target_row, make_rule):
    make_rule(s3_target_row(), evict_when=EvictWhen.DAYS)
    ticks(all_gone_from_here, most=10)
    unlink_due(timezone.now() + LATER)
    assert not local_files()
    forget_cache()
    assert all(comes_back(vault, data) for data in several)
    ticking.watch()
    assert not SnapshotCopy.objects.filter(complete_at__isnull=True).exists()


def test_either_of_two_buckets_is_enough(several, vault, s3_target_row, make_rule, s3_server):
    one, two = s3_target_row(), s3_target_row()
    make_rule(one, evict_when=EvictWhen.DAYS, min_copies=2)
    make_rule(two)
    ticks(all_gone_from_here, most=10)
    unlink_due(timezone.now() + LATER)
    for lost in (one, two):
        forget_cache()
        with without_tenant_scope("test"):
            Target.objects.filter(pk=lost.pk).update(endpoint="http://127.0.0.1:9")
        assert all(comes_back(vault, data) for data in several)
        with without_tenant_scope("test"):
            Target.objects.filter(pk=lost.pk).update(endpoint=s3_server.url)


def test_a_tenth_of_all_requests_fails_and_everything_tiers_in_the_end(
    several, vault, s3_target_row, faulty_s3, make_rule
):
    faulty_s3.share = 0.1
    make_rule(s3_target_row(url=faulty_s3.url), evict_when=EvictWhen.DAYS)
    faulty_s3.next(S3Fault.ERROR_503, method="PUT")  # one at least, whatever chance decides
    ticks(all_gone_from_here, most=60)
    unlink_due(timezone.now() + LATER)
    assert sum(faulty_s3.counts.values()) > 0
    faulty_s3.share = 0.0
    forget_cache()
    assert all(comes_back(vault, data) for data in several)
    assert Copy.objects.filter(state="good").count() == Pack.objects.count()


@pytest.mark.parametrize("trouble", ["denied", "refuse"])
def test_revoked_credentials_and_a_service_that_is_away_cost_no_local_file(
    several, vault, s3_target_row, faulty_s3, make_rule, trouble
):
    rule = make_rule(s3_target_row(url=faulty_s3.url))
    ticks(lambda: Copy.objects.filter(state="good").count() == Pack.objects.count(), most=10)
    setattr(faulty_s3, trouble, True)
    rule.evict_when = EvictWhen.DAYS
    with without_tenant_scope("test"):
        rule.save()
    tick()
    tick()
    assert not Pack.objects.exclude(place="target").exists()
    assert len(local_files()) == Pack.objects.count()
    assert not Copy.objects.exclude(state="good").exists(), "who does not answer has not said that anything is gone"
    assert all(comes_back(vault, data) for data in several)


def test_a_deleted_bucket_costs_no_local_file(several, vault, s3_target_row, s3_server, make_rule):
    target = s3_target_row()
    rule = make_rule(target)
    ticks(lambda: Copy.objects.filter(state="good").count() == Pack.objects.count(), most=10)
    client = s3_server.client()
    for found in client.list_objects_v2(Bucket=target.bucket).get("Contents", []):
        client.delete_object(Bucket=target.bucket, Key=found["Key"])
    client.delete_bucket(Bucket=target.bucket)
    rule.evict_when = EvictWhen.DAYS
    with without_tenant_scope("test"):
        rule.save()
    tick()
    assert not Pack.objects.exclude(place="target").exists()
    assert len(local_files()) == Pack.objects.count()
    assert all(comes_back(vault, data) for data in several)
