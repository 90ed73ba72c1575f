"""Opening targets: real buckets, kept stores, and what happens when a row changes."""

from __future__ import annotations

import pytest

from backup_platform.storage.base import StoreUnavailable
from backup_platform.targets import services
from backup_platform.targets.models import Target
from backup_platform.targets.opening import open_store
from backup_platform.tenants.scope import without_tenant_scope
from tests.targets.conftest import KEYS, kept

pytestmark = pytest.mark.django_db


def test_a_bucket_opens_and_is_kept_until_its_row_changes(s3_target_row):
    target = s3_target_row()
    store = open_store(target)
    store.put("key", b"content")
    assert open_store(kept(target)) is store
    services.change_target(target, services.Credentials(KEYS.access_key, "another-secret"), actor="ada", staff=True)
    changed = open_store(kept(target))
    assert changed is not store
    with pytest.raises(StoreUnavailable, match="credentials are refused"):
        changed.get("key")


def test_what_the_probe_found_is_what_the_store_relies_on(s3_target_row):
    assert open_store(s3_target_row()).abilities.conditional_put
    assert not open_store(s3_target_row(flags={})).abilities.conditional_put
    assert not open_store(s3_target_row(flags={"conditional_put": "yes"})).abilities.conditional_put


@pytest.mark.defence
def test_a_private_endpoint_is_dialled_only_where_it_was_allowed(s3_target_row):
    target = s3_target_row()
    open_store(target).put("key", b"content")
    target.allow_private = False
    with pytest.raises(StoreUnavailable, match="address is refused"):
        open_store(target).get("key")


def test_a_bucket_without_credentials_says_so(s3_target_row):
    target = s3_target_row()
    with without_tenant_scope("test data"):
        Target.objects.filter(pk=target.pk).update(sealed=b"")
    with pytest.raises(StoreUnavailable, match="no credentials"):
        open_store(kept(target))
