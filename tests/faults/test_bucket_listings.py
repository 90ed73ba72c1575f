"""A list error never reads as empty, whoever lists a bucket: a failed page, one that is cut off, one that is stale.

Who lists: a rebuild (here, and `--from-target` in tests/rebuild), draining (tests/tiering/test_bucket_faults.py), the
pruning of the platform's own backups (here). Retention, reclaim, scrub and tiering never list: rows tell them.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import backup_platform
from backup_platform.catalog.models import Snapshot
from backup_platform.rebuilding.errors import RebuildRefused
from backup_platform.rebuilding.names import Names
from backup_platform.rebuilding.platform_backup import putting
from backup_platform.rebuilding.rebuild import rebuild
from backup_platform.rebuilding.source import Source, source_in_bucket
from backup_platform.storage.base import StoreUnavailable
from backup_platform.storage.s3_wire import Patience
from backup_platform.targets import buckets
from backup_platform.targets.models import Target
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import without_tenant_scope
from tests.end_to_end.conftest import running_gateway, world
from tests.faulty_s3 import FaultyS3, S3Fault
from tests.rebuild.conftest import aftermath, ruins
from tests.rebuild.stage import Ruins, run_jobs, states

__all__ = ["aftermath", "ruins", "running_gateway", "world"]

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

LISTERS = {
    "rebuilding/platform_backup/putting.py",
    "rebuilding/survey.py",
    "targets/bucket_probe.py",
    "targets/probe.py",
    "tiering/forgetting.py",
}
"""Every file of the platform that lists a store, apart from the stores themselves. A new one belongs into a test."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """One attempt a call: that calls are repeated is looked at elsewhere."""
    monkeypatch.setattr(buckets, "PATIENCE", Patience(connect=10, silence=60, attempts=1))
    buckets._kept.clear()


@pytest.fixture
def source(ruins: Ruins, faulty_s3: FaultyS3, monkeypatch: pytest.MonkeyPatch) -> Source:
    """What is left, in a bucket that fails when it is told to."""
    bucket = faulty_s3.server.make_bucket()
    client = faulty_s3.server.client()
    for path in ruins.store.rglob("*"):
        if path.is_file() and not path.name.startswith("."):
            client.put_object(Bucket=bucket, Key=str(path.relative_to(ruins.store)), Body=path.read_bytes())
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", faulty_s3.server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", faulty_s3.server.secret_key)
    return source_in_bucket(f"s3://{bucket}", endpoint=faulty_s3.url, region="us-east-1", allow_private=True)


def folders_listed(source: Source, faulty_s3: FaultyS3) -> list[str]:
    """The requests of one whole listing."""
    before = len(faulty_s3.requests)
    list(source.store.list())
    return [path for method, path in faulty_s3.requests[before:] if "list-type=" in path]


def test_rebuild_from_a_bucket_refuses_whichever_page_of_the_listing_fails(source: Source, faulty_s3: FaultyS3):
    pages = folders_listed(source, faulty_s3)
    assert len(pages) > 5
    for fault in (S3Fault.FAILED_LIST, S3Fault.TRUNCATED):
        for page in {pages[0], pages[len(pages) // 2], pages[-1]}:
            for _ in range(8):  # whatever is repeated fails again
                faulty_s3.next(fault, "GET", page)
            with pytest.raises(RebuildRefused, match="could not be listed"):
                rebuild(source, Names(), actor="tests")
            faulty_s3.calm()
    with without_tenant_scope("the test looks"):
        assert not Tenant.objects.exists()
        assert not Snapshot.objects.exists()
    assert rebuild(source, Names(), actor="tests").damage == []
    run_jobs()
    assert states() == {"verified": 3}


def test_rebuild_from_a_stale_listing_calls_nothing_good_whose_pack_it_has_not_seen(
    source: Source, faulty_s3: FaultyS3
):
    """A service that has not heard of a pack yet says nothing about it; the snapshot says what it needs."""
    stale = next(page for page in folders_listed(source, faulty_s3) if "packs%2F" in page and page.count("%2F") > 4)
    faulty_s3.next(S3Fault.STALE_LIST, "GET", stale)
    made = rebuild(source, Names(), actor="tests").made
    assert (faulty_s3.counts[S3Fault.STALE_LIST], made["packs"]) == (1, 2)
    run_jobs()
    found = states()
    assert found.get("verified", 0) < 3, found
    assert sum(found.values()) == 3, "what it needs that was not seen is no reason to forget a snapshot"


def test_failed_listing_of_the_platforms_backups_deletes_none_of_them(
    db, s3_target_row, faulty_s3: FaultyS3, monkeypatch: pytest.MonkeyPatch, strongroom_home: Path
):
    monkeypatch.setattr(putting, "KEPT", 2)
    target: Target = s3_target_row(url=faulty_s3.url)
    store = buckets.bucket_store(target)
    keys = [f"{putting.folder()}/2020010{day}t000000z.backup" for day in range(1, 6)]
    for key in keys:
        store.put(key, b"a backup")
    for fault in (S3Fault.FAILED_LIST, S3Fault.TRUNCATED):
        faulty_s3.share, faulty_s3.kinds = 1.0, {fault}
        with pytest.raises(StoreUnavailable):
            putting.backups_in(store)
        putting._let_oldest_go(target, store, set())
        faulty_s3.calm()
        assert putting.backups_in(store) == keys
    faulty_s3.next(S3Fault.STALE_LIST)
    putting._let_oldest_go(target, store, set())
    assert putting.backups_in(store)[-2:] == keys[-2:], "the newest stay, also one that the listing has not heard of"


def test_nobody_else_lists_a_store() -> None:
    """Who would decide by a listing is to be tried with one that fails: this finds whoever begins to."""
    root = Path(backup_platform.__file__).parent
    found = {
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if "storage" not in path.parts and any(map(_lists_a_store, ast.walk(ast.parse(path.read_text()))))
    }
    assert found == LISTERS


def _lists_a_store(node: ast.AST) -> bool:
    call = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "list"
    return call and isinstance(node.func.value, ast.Name | ast.Call)
