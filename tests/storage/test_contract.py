"""One contract, every backend: what a store promises, whoever keeps the bytes."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backup_platform.storage.base import (
    AlreadyThere,
    ChecksumMismatch,
    KeyRefused,
    NotFound,
    Store,
    check_key,
)
from backup_platform.storage.faulty import FaultyStore
from backup_platform.storage.local import LocalStore
from backup_platform.storage.memory import MemoryStore


@pytest.fixture(params=["local", "memory", "faulty", "s3", "s3-of-which-nothing-is-known"])
def store(request, tmp_path: Path) -> Store:
    if request.param == "local":
        return LocalStore.create(tmp_path / "store")
    if request.param.startswith("s3"):
        from backup_platform.storage.s3 import Abilities

        server = request.getfixturevalue("s3_server")
        return server.store(prefix="some/where") if request.param == "s3" else server.store(abilities=Abilities())
    return MemoryStore() if request.param == "memory" else FaultyStore(MemoryStore())


def test_what_was_put_comes_back(store):
    store.put("a/b/c.pack", b"content")
    assert store.get("a/b/c.pack") == b"content"
    assert store.size("a/b/c.pack") == 7
    assert store.exists("a/b/c.pack")


def test_parts_are_read_by_offset_and_length_and_are_short_at_the_end(store):
    store.put("key", b"0123456789")
    assert store.get("key", 3, 4) == b"3456"
    assert store.get("key", 8, 10) == b"89"
    assert store.get("key", 4) == b"456789"
    assert store.get("key", 20, 5) == b""


def test_a_file_is_stored_from_where_it_stands(store):
    source = io.BytesIO(b"x" * 3_000_000)
    source.seek(1_000_000)
    store.put("big", source)
    assert store.size("big") == 2_000_000


def test_an_open_object_can_be_sought(store):
    store.put("key", b"0123456789")
    with store.open("key") as file:
        file.seek(5)
        assert file.read(3) == b"567"
        assert file.seek(0, 2) == 10


def test_an_empty_object_is_an_object(store):
    store.put("empty", b"")
    assert store.exists("empty")
    assert store.get("empty") == b""


def test_the_first_put_wins(store):
    store.put("key", b"first")
    with pytest.raises(AlreadyThere):
        store.put("key", b"second")
    assert store.get("key") == b"first"


def test_replacing_must_be_asked_for(store):
    store.put("key", b"first")
    store.put("key", b"second", only_if_absent=False)
    assert store.get("key") == b"second"


def test_putting_the_same_again_is_fine_and_something_else_is_not(store):
    store.put_same("key", b"same")
    store.put_same("key", b"same")
    with pytest.raises(AlreadyThere):
        store.put_same("key", b"other")


def test_a_wrong_checksum_stores_nothing(store):
    with pytest.raises(ChecksumMismatch):
        store.put("key", b"content", sha256=sha256(b"other").digest())
    assert not store.exists("key")
    store.put("key", b"content", sha256=sha256(b"content").digest())


def test_what_is_not_there_is_said_to_be_not_there(store):
    for ask in (store.get, store.open, store.size, store.delete):
        with pytest.raises(NotFound):
            ask("a/missing")
    assert not store.exists("a/missing")


def test_deleting_takes_one_object_away(store):
    store.put("a/one", b"1")
    store.put("a/two", b"2")
    store.delete("a/one")
    assert list(store.list()) == ["a/two"]
    store.put("a/one", b"again")


def test_deleting_many_passes_over_what_is_not_there(store):
    for key in ("a/one", "a/two", "b/c/one", "top"):
        store.put(key, b"1")
    store.delete_all(["a/one", "a/missing", "no/such/folder", "b/c/one", "top"])
    assert list(store.list()) == ["a/two"]
    store.delete_all([])


def test_a_listing_is_complete_ordered_and_of_whole_folders(store):
    keys = [f"a/{i:04}" for i in range(1_500)] + ["a-b/x", "ab/x", "b", "a/0001.d/x"]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.put(key, b""), keys))
    assert list(store.list()) == sorted(keys)
    assert list(store.list("a")) == sorted(key for key in keys if key.startswith("a/"))
    assert list(store.list("nothing/here")) == []


def test_a_complete_file_is_adopted_and_stays_where_it_is(store, tmp_path):
    source = tmp_path / "spool.pack"
    source.write_bytes(b"packed")
    store.adopt("packs/one.pack", source)
    assert store.get("packs/one.pack") == source.read_bytes() == b"packed"
    with pytest.raises(AlreadyThere):
        store.adopt("packs/one.pack", source)
    source.unlink()
    assert store.get("packs/one.pack") == b"packed"


@pytest.mark.parametrize(
    "key",
    [
        *(
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            "..",
            "a/../b",
            ".hidden",
            "a/.hidden",
            "A",
            "a b",
            "a\\b",
            "a\0",
            "ü",
            "a" * 401,
        ),
        *("a\n", "-a", "a:b"),
    ],
)
def test_keys_that_could_leave_or_clash_are_refused(store, key):
    for ask in (
        lambda: store.put(key, b""),
        lambda: store.get(key),
        lambda: store.open(key),
        lambda: store.delete(key),
    ):
        with pytest.raises(KeyRefused):
            ask()
    if key:
        with pytest.raises(KeyRefused):
            list(store.list(key))


@given(st.text(max_size=30))
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
def test_no_accepted_key_leaves_its_root(key):
    try:
        check_key(key)
    except KeyRefused:
        return
    path = (Path("/root/of/store") / key).resolve()
    assert path.is_relative_to("/root/of/store")
    assert path != Path("/root/of/store")
