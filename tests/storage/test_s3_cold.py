"""Cold storage classes, against moto: the real server of the other tests has none."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from moto.moto_api import state_manager
from moto.server import ThreadedMotoServer

from backup_platform.storage.base import NotThawed
from backup_platform.storage.s3 import Account, Keeping, Patience, Place, S3Store, Thawing
from tests.s3_server import ABILITIES

RESTORE = "s3::keyrestore"


@pytest.fixture
def cold() -> Iterator[S3Store]:
    """A store whose packs are cold, and thawed when they were looked at twice."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    state_manager.set_transition(RESTORE, transition={"progression": "manual", "times": 2})
    bucket = f"cold-{uuid4().hex}"  # what moto holds outlives its server
    host, port = server.get_host_and_port()
    store = S3Store(Place(bucket, f"http://{host}:{port}", "us-east-1", private=True), Account("a", "s"),
                    abilities=ABILITIES, keeping=Keeping(storage_class="GLACIER"),
                    patience=Patience(attempts=2))  # fmt: skip
    store.client.create_bucket(Bucket=bucket)
    yield store
    state_manager.unset_transition(RESTORE)
    server.stop()


def test_a_cold_pack_is_asked_for_waited_for_and_read(cold):
    cold.put("a.pack", b"content")
    with pytest.raises(NotThawed, match="hours"):
        cold.get("a.pack")
    assert cold.thawing("a.pack") is Thawing.COLD
    cold.thaw("a.pack", days=3)
    assert cold.thawing("a.pack") is Thawing.UNDER_WAY
    cold.thaw("a.pack", days=3)
    cold.wait_until_thawed("a.pack", 60, pause=0.01)
    assert cold.get("a.pack") == b"content"


def test_waiting_for_what_nobody_asked_for_ends(cold):
    cold.put("a.pack", b"content")
    with pytest.raises(NotThawed, match="not asked for"):
        cold.wait_until_thawed("a.pack", 0.05, pause=0.01)


def test_records_are_readable_at_once_and_need_no_thawing(cold):
    cold.put("a.root", b"root")
    assert cold.get("a.root") == b"root"
    assert cold.thawing("a.root") is Thawing.READABLE
