"""What the local store adds: durability in the right order, no way out of the root, and honest errors."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from backup_platform.storage import local
from backup_platform.storage.base import AlreadyThere, NoSpace, StoreUnavailable
from backup_platform.storage.local import LocalStore, NotAStore


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore.create(tmp_path / "store")


def record_calls(monkeypatch) -> list[str]:
    calls: list[str] = []
    for name in ("fsync", "link", "rename", "mkdir", "write"):
        real = getattr(os, name)

        def call(*args, name=name, real=real, **options):
            kind = name
            if name == "fsync":
                kind = "fsync directory" if os.path.isdir(f"/proc/self/fd/{args[0]}") else "fsync file"
            calls.append(kind)
            return real(*args, **options)

        monkeypatch.setattr(local.os, name, call)
    return calls


def test_bytes_are_synced_before_the_name_and_the_name_before_the_answer(store, monkeypatch):
    store.put("a/first", b"")
    calls = record_calls(monkeypatch)
    store.put("a/key", b"content")
    assert calls == ["write", "fsync file", "link", "fsync directory"]


def test_a_new_folder_is_synced_into_its_parent(store, monkeypatch):
    calls = record_calls(monkeypatch)
    store.put("new/key", b"content")
    assert calls[:2] == ["mkdir", "fsync directory"]


def test_deleting_many_syncs_each_folder_once_and_after_all_names(store, monkeypatch):
    for key in ("a/1", "a/2", "b/1"):
        store.put(key, b"content")
    calls, real = record_calls(monkeypatch), os.unlink
    monkeypatch.setattr(local.os, "unlink", lambda *args, **more: (calls.append("unlink"), real(*args, **more)))
    store.delete_all(["a/1", "b/1", "a/2"])
    assert calls == ["unlink"] * 3 + ["fsync directory"] * 2


def test_deleting_many_syncs_what_went_before_a_fault(store, monkeypatch):
    for key in ("a/1", "b/1"):
        store.put(key, b"content")
    calls, real = record_calls(monkeypatch), os.unlink

    def unlink(name, **more):
        if "b" in os.readlink(f"/proc/self/fd/{more['dir_fd']}").rpartition("/")[2]:
            raise OSError(errno.EIO, "input/output error")
        real(name, **more)

    monkeypatch.setattr(local.os, "unlink", unlink)
    with pytest.raises(StoreUnavailable):
        store.delete_all(["a/1", "b/1"])
    assert calls == ["fsync directory"] * 2
    assert [store.exists(key) for key in ("a/1", "b/1")] == [False, True]


def test_deleting_many_is_an_error_where_the_disk_is_away(store):
    store.put("a/1", b"content")
    store.root.rename(store.root.with_name("unplugged"))
    with pytest.raises(StoreUnavailable):
        store.delete_all(["a/1"])


def test_adopting_links_without_copying_and_syncs_the_folder(store, tmp_path, monkeypatch):
    source = tmp_path / "file"
    source.write_bytes(b"packed")
    store.put("a/first", b"")
    calls = record_calls(monkeypatch)
    store.adopt("a/key", source)
    assert calls == ["link", "fsync directory"]
    assert os.stat(source).st_ino == os.stat(store.root / "a/key").st_ino


def test_adopting_across_file_systems_copies(store, tmp_path, monkeypatch):
    source = tmp_path / "file"
    source.write_bytes(b"packed")
    real, refused = os.link, []

    def link(src, *args, **options):
        if not refused:
            refused.append(src)
            raise OSError(errno.EXDEV, "other device")
        return real(src, *args, **options)

    monkeypatch.setattr(local.os, "link", link)
    store.adopt("a/key", source)
    assert store.get("a/key") == b"packed"
    assert os.stat(source).st_ino != os.stat(store.root / "a/key").st_ino


def test_short_writes_are_finished(store, monkeypatch):
    real = os.write
    monkeypatch.setattr(local.os, "write", lambda fd, data: real(fd, data[:7]))
    store.put("key", b"0123456789" * 10)
    assert store.get("key") == b"0123456789" * 10


@pytest.mark.parametrize("step", ["write", "fsync", "link"])
@pytest.mark.parametrize(("code", "kind"), [(errno.EIO, StoreUnavailable), (errno.ENOSPC, NoSpace)])
def test_a_failing_step_stores_nothing_and_leaves_no_litter(store, monkeypatch, step, code, kind):
    store.put("a/other", b"")

    def fail(*_: object, **__: object) -> int:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr(local.os, step, fail)
        with pytest.raises(kind) as refusal:
            store.put("a/key", b"content")
    assert str(store.root) not in str(refusal.value)
    assert not store.exists("a/key")
    assert os.listdir(store.root / "a") == ["other"]
    store.put("a/key", b"content")


def test_after_a_lost_answer_the_repeated_put_finds_its_object_and_syncs_again(store, monkeypatch):
    store.put("a/other", b"")
    real, count = os.fsync, []

    def fail_on_folder(descriptor: int) -> None:
        count.append(descriptor)
        if len(count) == 2:
            raise OSError(errno.EIO, "lost")
        real(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(local.os, "fsync", fail_on_folder)
        with pytest.raises(StoreUnavailable):
            store.put("a/key", b"content")
    calls = record_calls(monkeypatch)
    with pytest.raises(AlreadyThere):
        store.put("a/key", b"content")
    assert calls == ["fsync directory"]
    store.put_same("a/key", b"content")


def test_links_planted_inside_lead_nowhere(store, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    store.put("a/key", b"")
    (store.root / "folder").symlink_to(outside)
    (store.root / "a/link").symlink_to(outside / "secret")
    for ask in (
        lambda: store.get("folder/secret"),
        lambda: store.get("a/link"),
        lambda: store.put("folder/new", b""),
        lambda: store.delete("folder/secret"),
        lambda: list(store.list("folder")),
    ):
        with pytest.raises(StoreUnavailable):
            ask()
    assert "folder/secret" not in list(store.list())
    assert os.listdir(outside) == ["secret"]


def test_a_link_is_not_adopted(store, tmp_path):
    (tmp_path / "file").write_bytes(b"secret")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with pytest.raises(StoreUnavailable):
        store.adopt("key", tmp_path / "link")


def test_a_fifo_in_the_store_is_refused_and_nothing_hangs(store):
    os.mkfifo(store.root / "pipe")
    with pytest.raises(StoreUnavailable):
        store.get("pipe")


def test_a_store_whose_disk_went_away_is_away_and_not_empty(store, tmp_path):
    store.put("a/key", b"")
    store.root.rename(tmp_path / "unplugged")
    store.root.mkdir()
    for ask in (lambda: store.exists("a/key"), lambda: list(store.list()), lambda: store.put("b", b"")):
        with pytest.raises(NotAStore):
            ask()
    with pytest.raises(NotAStore):
        LocalStore(store.root)


def test_a_directory_with_something_else_in_it_is_not_made_a_store(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotAStore):
        LocalStore.create(tmp_path)


def test_a_folder_that_vanishes_during_a_listing_is_an_error(store):
    store.put("a/one", b"")
    store.put("b/two", b"")
    listing = store.list()
    assert next(listing) == "a/one"
    (store.root / "b/two").unlink()
    (store.root / "b").rmdir()
    with pytest.raises(StoreUnavailable):
        list(listing)


def test_objects_are_read_only_and_folders_private(store):
    store.put("a/key", b"")
    assert os.stat(store.root / "a/key").st_mode & 0o777 == 0o400
    assert os.stat(store.root / "a").st_mode & 0o777 == 0o700


@pytest.mark.defence
def test_folder_that_somebody_else_made_is_synced_into_its_parent_too(store, monkeypatch):
    """They may have died between making it and syncing its name."""
    (store.root / "theirs").mkdir()
    calls = record_calls(monkeypatch)
    store.put("theirs/key", b"content")
    assert calls[0] == "fsync directory"
    calls.clear()
    store.put("theirs/second", b"content")
    assert calls == ["write", "fsync file", "link", "fsync directory"]


def test_new_store_is_synced_into_its_parent(tmp_path, monkeypatch):
    synced: list[str] = []
    real = os.fsync

    def note(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr(local.os, "fsync", note)
    LocalStore.create(tmp_path / "store")
    assert str(tmp_path) in synced


def test_store_that_was_made_meanwhile_is_taken_as_it_is(tmp_path):
    LocalStore.create(tmp_path / "store").put("a/key", b"content")
    assert LocalStore.create(tmp_path / "store").get("a/key") == b"content"
