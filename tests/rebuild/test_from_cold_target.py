"""Restoring without any server from a bucket whose packs are cold: said plainly, and asked for only by name."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from agents.errors import WaitedTooLong
from agents.from_target import cold
from agents.from_target.stores import Frozen
from tests.cold_s3 import ColdS3, cold_s3
from tests.rebuild.stage import Ruins
from tests.s3_server import ACCESS_KEY, SECRET_KEY

__all__ = ["cold_s3"]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def bucket(ruins: Ruins, cold_s3: ColdS3, monkeypatch: pytest.MonkeyPatch) -> ColdS3:
    """The store's files, their packs in a cold class, and the credentials in the environment."""
    for path in ruins.store.rglob("*"):
        if path.is_file():
            key = f"far/away/{path.relative_to(ruins.store)}"
            cold_s3.client.put_object(Bucket=cold_s3.bucket, Key=key, Body=path.read_bytes())
    assert cold_s3.freeze()
    given = {"AWS_ENDPOINT_URL": cold_s3.url, "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": ACCESS_KEY,
             "AWS_SECRET_ACCESS_KEY": SECRET_KEY}  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(cold, "FIRST_PAUSE", 0.2)
    return cold_s3


def restore(ruins: Ruins, bucket: ColdS3, out: Path, *more: str):
    store = f"s3://{bucket.bucket}/far/away"
    return ruins.agent("nobody").json("restore", "latest", "--from-target", store, "--kit", ruins.kit, "--machine",
                                      "alpha", "--target", out, *more)  # fmt: skip


def test_cold_packs_are_named_asked_for_by_name_only_and_waited_for(ruins: Ruins, bucket: ColdS3, tmp_path: Path):
    said = restore(ruins, bucket, tmp_path / "out")
    assert said.code == 5, said
    assert "lie in cold storage" in said.out + said.err
    assert "--wait-for-thaw" in said.out + said.err
    assert bucket.asked() == []

    bucket.takes(0.2)
    done = restore(ruins, bucket, tmp_path / "out", "--wait-for-thaw", "1")
    assert done.code == 0, done
    assert bucket.asked() == bucket.keys(".pack")
    assert ruins.restored(tmp_path / "out", "alpha") == ruins.was["alpha", 2]


def test_waiting_asks_for_every_pack_once_and_ends():
    """A store that stays cold: moto gives what was asked for as soon as anybody reads it."""

    class StaysCold:
        asked: ClassVar[list[str]] = []

        def thaw(self, key: str) -> None:
            self.asked.append(key)

        def read(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
            raise Frozen(f"{key} is cold.")

    said: list[str] = []
    packs = cold.ColdPacks(hours=0, packs=[("a.pack", 3 << 20), ("b.pack", 4 << 20)])
    with pytest.raises(WaitedTooLong, match="2 of 2 packs are still in cold storage") as caught:
        packs.wait(StaysCold(), said.append)  # type: ignore[arg-type]
    assert caught.value.exit_code == 5
    assert sorted(StaysCold.asked) == ["a.pack", "b.pack"]
    assert "2 packs of this vault (7 MiB)" in said[0]


@pytest.mark.defence
def test_what_may_be_in_a_cold_pack_is_not_called_lost(ruins: Ruins, bucket: ColdS3, tmp_path: Path):
    (largest, *_) = sorted(bucket.keys(".pack"))
    kept = next(path for path in ruins.store.rglob("*.pack") if largest.endswith(path.name))
    bucket.client.put_object(Bucket=bucket.bucket, Key=largest, Body=kept.read_bytes())  # one that can be read
    said = restore(ruins, bucket, tmp_path / "out")
    assert said.code == 5, said
    assert "damaged" not in said.err


def test_a_cold_root_is_said_to_be_cold(ruins: Ruins, bucket: ColdS3, tmp_path: Path):
    bucket.freeze(".root")
    said = restore(ruins, bucket, tmp_path / "out")
    assert said.code == 5, said
    assert "cold storage class" in said.out + said.err


def test_a_refusal_to_thaw_names_the_right_that_is_missing(ruins: Ruins, bucket: ColdS3, monkeypatch):
    from agents.from_target.restore_request import Asker
    from agents.from_target.stores import Unreachable

    asker = Asker.from_environment("there-is-no-such-bucket")
    assert SECRET_KEY not in repr(asker)
    with pytest.raises(Unreachable, match="NoSuchBucket"):
        asker.ask("far/away/x.pack")
