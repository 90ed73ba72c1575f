"""The store that fails on purpose fails as its script says, and not otherwise."""

from __future__ import annotations

import pytest

from backup_platform.storage.base import NoSpace, StoreUnavailable
from backup_platform.storage.faulty import Failure, Fault, FaultyStore
from backup_platform.storage.memory import MemoryStore


def test_the_scripted_call_fails_and_the_others_do_not():
    store = FaultyStore(MemoryStore(), [Fault("put", 2)])
    store.put("one", b"1")
    with pytest.raises(StoreUnavailable):
        store.put("two", b"2")
    store.put("two", b"2")
    assert store.calls["put"] == 3


def test_a_full_store_says_so_and_keeps_nothing():
    store = FaultyStore(MemoryStore(), [Fault("put", 1, Failure.NO_SPACE)])
    with pytest.raises(NoSpace):
        store.put("key", b"1")
    assert not store.exists("key")


def test_a_lost_answer_hides_an_effect():
    store = FaultyStore(MemoryStore(), [Fault("put", 1, Failure.AFTER_EFFECT)])
    with pytest.raises(StoreUnavailable):
        store.put("key", b"content")
    store.put_same("key", b"content")


def test_short_reads_and_cut_writes():
    store = FaultyStore(MemoryStore(), [Fault("get", 1, Failure.SHORT), Fault("put", 2, Failure.SHORT)])
    store.put("key", b"content.")
    assert store.get("key") == b"cont"
    with pytest.raises(StoreUnavailable):
        store.put("cut", b"content.")
    assert store.get("cut") == b"cont"


def test_a_listing_that_breaks_off_never_looks_complete():
    store = FaultyStore(MemoryStore(), [Fault("list", 1)])
    for key in "abcd":
        store.put(key, b"")
    with pytest.raises(StoreUnavailable):
        list(store.list())
    assert len(list(store.list())) == 4
