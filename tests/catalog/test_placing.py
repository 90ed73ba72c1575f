"""Placing a pack in the target: what lies there already is looked at before the spool's file goes."""

from __future__ import annotations

import pytest

from backup_platform.catalog import deduplication, stores
from backup_platform.catalog.models import Pack
from backup_platform.catalog.verification import verify_pack
from backup_platform.storage.base import StoreUnavailable
from tests.catalog.stage import contents, pack_path


@pytest.fixture
def pack(backup) -> Pack:
    """A pack that was verified and lies in the spool."""
    backup.run(contents(2))
    pack = Pack.objects.get()
    verify_pack(pack.pk)
    return pack


def key_of(pack: Pack) -> str:
    return stores.pack_key(pack.tenant_id, pack.vault_id, pack.uid)


@pytest.mark.defence
def test_other_bytes_under_the_packs_key_keep_it_in_the_spool(pack):
    """An earlier attempt, or somebody else, left a file there: the only good copy must not be given up for it."""
    stores.local_target().put(key_of(pack), b"something else")
    with pytest.raises(StoreUnavailable, match="other bytes"):
        deduplication.deduplicate_pack(pack.pk)
    pack.refresh_from_db()
    assert pack.place == "spool"
    assert pack_path(pack).exists()


def test_copy_of_an_attempt_that_broke_off_is_taken(pack):
    stores.local_target().put(key_of(pack), pack_path(pack).read_bytes())
    deduplication.deduplicate_pack(pack.pk)
    pack.refresh_from_db()
    assert pack.place == "target"
