"""Reading from targets: by ranges, through a bounded cache, from whichever target can; error is not absence."""

from __future__ import annotations

import io
import os
from typing import ClassVar

import pytest

from backup_platform.catalog import remote_files, stores
from backup_platform.catalog.block_cache import BlockCache
from backup_platform.catalog.errors import RecordCold, RecordLost, RecordUnavailable
from backup_platform.catalog.models import Copy, Pack
from backup_platform.catalog.pack_files import PackGone, open_copy, open_pack_file, read_cache
from backup_platform.catalog.reading import PackReader, _rows
from backup_platform.catalog.remote_files import RemoteFile
from backup_platform.storage.base import NotThawed, StoreUnavailable
from backup_platform.storage.faulty import Failure, Fault, FaultyStore
from backup_platform.storage.memory import MemoryStore
from backup_platform.tiering.recalling import recall
from tests.catalog.stage import digest
from tests.tiering.stage import comes_back, forget_cache, ticks


class Counting(MemoryStore):
    """Remembers which ranges were asked for; `away` refuses everything."""

    def __init__(self) -> None:
        super().__init__()
        self.ranges: list[tuple[int, int | None]] = []
        self.away = False

    def get(self, key, offset=0, length=None):
        if self.away:
            raise StoreUnavailable("The service is away.")
        self.ranges.append((offset, length))
        return super().get(key, offset, length)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(remote_files, "BLOCK", 1024)


@pytest.fixture
def one() -> Counting:
    return Counting()


@pytest.fixture
def two() -> Counting:
    return Counting()


@pytest.fixture
def remote_pack(pack, make_target, make_rule, one, two) -> Pack:
    """A pack at two targets and not here."""
    make_rule(make_target(store=one))
    make_rule(make_target(store=two))
    ticks(lambda: Copy.objects.filter(state="good").count() == 2, most=5)
    (stores.home() / "store" / pack.path).unlink()
    Pack.objects.update(place="remote")
    pack.refresh_from_db()
    return pack


def test_any_slice_of_a_remote_file_is_what_the_object_holds(small_blocks):
    content = os.urandom(10_000)
    store = Counting()
    store.put("k", content)
    file = RemoteFile([(lambda: store, "k")], "0" * 32, len(content))
    for start, size in [(0, 10), (1000, 100), (1023, 2), (0, 10_000), (9_990, 100), (10_000, 5), (20_000, 1), (512, 0)]:
        file.seek(start)
        assert file.read(size) == content[start : start + size]
    assert file.seek(-5, io.SEEK_END) == 9_995
    assert file.read() == content[-5:]


def test_a_sequential_reader_asks_for_more_at_once(small_blocks, tmp_path):
    content = os.urandom(8 * 1024)
    store = Counting()
    store.put("k", content)
    file = RemoteFile([(lambda: store, "k")], "0" * 32, len(content), BlockCache(tmp_path, 1 << 20))
    assert file.read(len(content)) == content
    assert len(store.ranges) < 8
    assert max(length for _, length in store.ranges) == 2 * 1024


def test_what_was_read_before_is_not_asked_for_again(remote_pack, vault, data, one, two):
    forget_cache()
    assert comes_back(vault, data)
    asked = len(one.ranges) + len(two.ranges)
    one.away = two.away = True
    assert comes_back(vault, data)
    assert asked > 0


def test_either_target_alone_is_enough(remote_pack, vault, data, one, two):
    for gone, there in ((one, two), (two, one)):
        forget_cache()
        gone.away, there.away = True, False
        assert comes_back(vault, data)


@pytest.mark.defence
def test_targets_that_are_away_say_nothing_about_the_pack(remote_pack, vault, data, one, two):
    forget_cache()
    one.away = two.away = True
    _rows.clear()
    with pytest.raises(RecordUnavailable):
        list(PackReader(vault.number).read([digest(data[0])]))


@pytest.mark.defence
def test_one_target_that_is_away_and_one_that_lost_it_say_nothing_either(remote_pack, vault, data, one, two):
    forget_cache()
    one.away = True
    two.objects.clear()
    _rows.clear()
    with pytest.raises(RecordUnavailable):
        PackReader(vault.number).read_one(digest(data[0]))


def test_a_pack_is_gone_when_every_place_said_so(remote_pack, vault, data, one, two):
    forget_cache()
    one.objects.clear()
    two.objects.clear()
    _rows.clear()
    with pytest.raises(RecordLost):
        PackReader(vault.number).read_one(digest(data[0]))


@pytest.mark.defence
def test_a_rotten_copy_costs_nothing_while_another_is_whole(remote_pack, vault, data, one, two):
    forget_cache()
    for store in (one,):
        for key, held in store.objects.items():
            middle = len(held) // 2
            store.objects[key] = held[:middle] + bytes([held[middle] ^ 1]) + held[middle + 1 :]
    assert comes_back(vault, data)
    assert comes_back(vault, data), "and what was spoilt does not stay in the cache"


def test_a_spoilt_block_in_the_cache_is_not_believed(remote_pack, vault, data):
    assert comes_back(vault, data)
    for path in (stores.home() / "cache" / "packs").rglob("*-*"):
        if path.is_file():
            path.write_bytes(bytes(path.stat().st_size))
    assert comes_back(vault, data)


def test_a_local_record_that_rotted_is_read_from_a_target(pack, vault, data, make_target, make_rule):
    make_rule(make_target(store=MemoryStore()))
    ticks(lambda: Copy.objects.filter(state="good").exists(), most=5)
    path = stores.home() / "store" / pack.path
    path.chmod(0o600)
    path.write_bytes(bytes(path.stat().st_size))
    assert comes_back(vault, data)


@pytest.mark.defence
def test_a_pack_in_a_cold_class_is_neither_called_lost_nor_asked_for_by_reading(remote_pack, vault, data, stores_of):
    class Cold(MemoryStore):
        thawed: ClassVar[list[str]] = []

        def get(self, key, offset=0, length=None):
            raise NotThawed("It is in a cold class.")

        def thaw(self, key, days=7):
            self.thawed.append(key)

    forget_cache()
    for target_id in stores_of:
        stores_of[target_id] = Cold()
    _rows.clear()
    with pytest.raises(RecordCold):
        PackReader(vault.number).read_one(digest(data[0]))
    with pytest.raises(RecordCold):
        recall(remote_pack.pk)
    assert not Cold.thawed


def test_one_copy_is_read_from_its_own_target_only(remote_pack, one, two):
    row = Copy.objects.select_related("target", "pack").first()
    one.ranges.clear()
    two.ranges.clear()
    with open_copy(row) as file:
        assert len(file.read()) == remote_pack.bytes
    assert bool(one.ranges) != bool(two.ranges)


def test_a_reclaimed_pack_is_gone_whatever_lies_somewhere(remote_pack):
    Pack.objects.update(place="gone")
    remote_pack.refresh_from_db()
    with pytest.raises(PackGone):
        open_pack_file(remote_pack)


def test_an_answer_that_is_too_short_is_asked_of_the_next_target(remote_pack, vault, data, stores_of, one, two):
    forget_cache()
    for target_id, store in list(stores_of.items()):
        if store is one:
            stores_of[target_id] = FaultyStore(one, [Fault("get", call, Failure.SHORT) for call in range(1, 50)])
    assert comes_back(vault, data)


def test_the_cache_keeps_its_limit_and_drops_what_was_not_used(tmp_path):
    cache = BlockCache(tmp_path, 100_000)
    for number in range(40):
        cache.keep("ab" * 16, number, bytes(10_000))
        os.utime(cache._path("ab" * 16, number), (number, number))
    assert cache.measure() <= 100_000
    assert cache.read("ab" * 16, 39, 10_000) is not None
    assert cache.read("ab" * 16, 0, 10_000) is None


def test_a_cache_that_cannot_write_costs_speed_only(tmp_path, remote_pack, vault, data, settings):
    settings.STRONGROOM_READ_CACHE_BYTES = 0
    assert comes_back(vault, data)
    (tmp_path / "file").write_bytes(b"")
    cache = BlockCache(tmp_path / "file", 1000)
    cache.keep("ab" * 16, 0, b"x")
    assert cache.read("ab" * 16, 0, 1) is None
    assert read_cache().limit == 0
