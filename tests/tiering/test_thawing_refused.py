"""Packs that cold storage does not give: they are no reason to ask for ever, nor to forget those behind them."""

from __future__ import annotations

from uuid import uuid4

import pytest

from backup_platform.catalog import stores
from backup_platform.catalog.models import Copy, CopyState, Pack, PackPlace, PackState
from backup_platform.targets.models import Target
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.tiering import thawing
from tests.cold_s3 import ColdS3, cold_s3

__all__ = ["cold_s3"]

pytestmark = pytest.mark.django_db(transaction=True)
MOST_ROUNDS = 30


@pytest.fixture(autouse=True)
def few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thawing, "LOOKS", 2)


@pytest.fixture
def remote(vault, cold_s3: ColdS3):
    """Makes the row of a pack that lies at a target of this bucket only; `cold`: with an object, which is cold."""

    def make(target: Target, *, cold: bool = False) -> int:
        uid = uuid4()
        key = stores.pack_key(vault.tenant_id, vault.pk, uid)
        pack = Pack.objects.create(uid=uid, tenant_id=vault.tenant_id, vault=vault, spool="", path="", bytes=4,
                                   state=PackState.SEALED, place=PackPlace.REMOTE)  # fmt: skip
        Copy.objects.create(tenant_id=vault.tenant_id, pack=pack, target=target, state=CopyState.GOOD, key=key, bytes=4)
        if cold:
            cold_s3.client.put_object(Bucket=cold_s3.bucket, Key=key, Body=b"pack", StorageClass="GLACIER")
        return pack.pk

    return make


def rounds(packs: list[int]) -> tuple[int, thawing.Progress]:
    """Ask until nothing more is to be learnt at once; how often that was, and the last answer."""
    for number in range(1, MOST_ROUNDS):
        progress = thawing.thaw(packs, "test")
        if not progress.more:
            return number, progress
    raise AssertionError("it never ends")


@pytest.mark.defence
@pytest.mark.parametrize("why", ["nowhere", "refused"])
def test_packs_that_cannot_be_had_end_the_asking_and_hide_no_other(remote, cold_s3: ColdS3, why: str):
    target = cold_s3.row()
    first = cold_s3.row()
    if why == "refused":
        with without_tenant_scope("test"):
            Target.objects.filter(pk=first.pk).update(sealed=b"not to be opened")
    packs = [remote(first) for _ in range(5)] + [remote(target, cold=True) for _ in range(3)]
    number, progress = rounds(packs)
    assert number < MOST_ROUNDS / 2
    assert len(cold_s3.asked()) == 3, "those behind them were asked for"
    assert progress.waiting == 3
    assert rounds(packs)[1].more is False


def test_what_was_refused_is_asked_for_as_soon_as_it_may_be(remote, cold_s3: ColdS3):
    target = cold_s3.row()
    with without_tenant_scope("test"):
        right = bytes(Target.objects.get(pk=target.pk).sealed)
        Target.objects.filter(pk=target.pk).update(sealed=b"not to be opened")
    packs = [remote(target, cold=True) for _ in range(5)]
    assert rounds(packs)[1].refused > 0
    with without_tenant_scope("test"):
        Target.objects.filter(pk=target.pk).update(sealed=right)
    progress = rounds(packs)[1]
    assert (progress.waiting, progress.refused) == (5, 0)
    assert len(cold_s3.asked()) == 5
