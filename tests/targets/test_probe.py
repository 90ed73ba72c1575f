"""The probe against a real server, a faulty one, and a directory: what it finds, keeps and leaves behind."""

from __future__ import annotations

import pytest

from backup_platform.audit.models import Entry
from backup_platform.targets import bucket_probe, services
from backup_platform.targets.models import Target, TargetKind, TargetState
from backup_platform.targets.opening import open_store
from backup_platform.targets.probe import probe_target
from backup_platform.targets.watching import clear_unfinished, look_again
from backup_platform.tenants.scope import without_tenant_scope
from tests.faulty_s3 import S3Fault
from tests.s3_server import FLAGS
from tests.targets.conftest import kept

pytestmark = pytest.mark.django_db


def test_a_real_bucket_is_found_out_and_left_as_it_was(s3_target_row, s3_server):
    target = s3_target_row(flags={}, prefix="deep/er")
    report = probe_target(target, actor="ada")
    assert report.usable, report.fault
    row = kept(target)
    assert {name: row.flags[name] for name in FLAGS} == FLAGS  # what all other tests say of this server is true
    assert row.flags["paging"]
    assert abs(row.flags["clock_skew_seconds"]) < 60
    assert row.probed_at is not None
    client = s3_server.client()
    assert client.list_objects_v2(Bucket=target.bucket)["KeyCount"] == 0
    assert not client.list_multipart_uploads(Bucket=target.bucket).get("Uploads")
    with without_tenant_scope("tests"):
        assert Entry.objects.get(verb="target.probed").detail["usable"] is True


@pytest.fixture
def few_pages(monkeypatch):
    """A probe without its thousand keys, where something else is asked."""
    monkeypatch.setattr(bucket_probe, "PAGE_KEYS", 5)


def test_object_lock_is_seen_and_nothing_is_locked_for_trial(s3_target_row, s3_server, few_pages):
    bucket = s3_server.make_bucket(ObjectLockEnabledForBucket=True)
    target = s3_target_row(bucket=bucket, lock_days=30, storage_class="GLACIER")
    assert probe_target(target, actor="ada").is_good("lock")
    assert kept(target).flags["object_lock"] is True
    versions = s3_server.client().list_object_versions(Bucket=bucket).get("Versions", [])
    assert not any("ObjectLockMode" in s3_server.client().head_object(
        Bucket=bucket, Key=found["Key"], VersionId=found["VersionId"]) for found in versions[:5])  # fmt: skip


@pytest.mark.parametrize(("code", "words"), [("InvalidAccessKeyId", "credentials"), ("RequestTimeTooSkewed", "clock")])
def test_a_bucket_that_refuses_is_paused_and_told(s3_target_row, faulty_s3, few_pages, code, words):
    target = s3_target_row(url=faulty_s3.url)
    faulty_s3.denied, faulty_s3.denied_code = True, code
    report = probe_target(target, actor="ada")
    assert not report.usable
    assert words in report.fault
    row = kept(target)
    assert (row.state, row.away_since is None) == (TargetState.PAUSED, False)
    faulty_s3.calm()
    assert probe_target(kept(target), actor="ada").usable
    assert kept(target).away_since is None


def test_a_bucket_that_is_not_there_is_told(s3_target_row, few_pages):
    report = probe_target(s3_target_row(bucket="no-such-bucket-anywhere"), actor="ada")
    assert not report.usable
    assert "bucket" in report.fault


@pytest.mark.defence
def test_a_service_that_ignores_conditions_is_seen_through(s3_target_row, few_pages, monkeypatch):
    """A client whose conditions get lost on the way stands for a service that does not know them."""
    target = s3_target_row()

    def without_conditions(*arguments, **named):
        store = real(*arguments, **named)
        store.client.meta.events.register("before-call.s3", drop)
        return store

    def drop(params, **_):
        params["headers"].pop("If-None-Match", None)

    real = bucket_probe.make_store
    monkeypatch.setattr(bucket_probe, "make_store", without_conditions)
    report = probe_target(target, actor="ada")
    assert not report.is_good("conditional_put")
    assert not report.is_good("conditional_complete")
    assert not open_store(kept(target)).abilities.conditional_put


def test_a_service_with_faults_leaves_the_probe_with_a_sentence(s3_target_row, faulty_s3, few_pages):
    target = s3_target_row(url=faulty_s3.url)
    faulty_s3.share, faulty_s3.kinds = 1.0, {S3Fault.ERROR_500}
    report = probe_target(target, actor="ada")
    assert not report.usable
    assert "500" in report.fault


def test_a_directory_is_probed_too(tmp_path):
    target = Target(name="disk", kind=TargetKind.LOCAL, path=str(tmp_path / "copies"))
    services.create_target(target, None, actor="ada", staff=True)
    assert probe_target(target, actor="ada").usable
    assert list(open_store(target).list()) == []


def test_the_home_directory_may_be_probed_and_is_never_paused(strongroom_home):
    home = services.home_target()
    assert probe_target(home, actor="ada").usable
    assert kept(home).state == TargetState.ACTIVE


def test_a_target_that_was_away_is_asked_again_until_it_is_back(s3_target_row, faulty_s3):
    target = s3_target_row(url=faulty_s3.url)
    services.note_away(target, "It did not answer.")
    faulty_s3.denied = True
    assert look_again() == 0
    assert "credentials" in kept(target).fault
    faulty_s3.calm()
    assert look_again() == 1
    assert kept(target).away_since is None
    assert look_again() == 0


def test_unfinished_uploads_of_every_bucket_are_cleared_away(s3_target_row):
    assert clear_unfinished() == 0
    s3_target_row()
    assert clear_unfinished() == 0
