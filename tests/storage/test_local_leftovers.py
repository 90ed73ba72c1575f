"""What a power cut left half written in a local store goes; what is being written just now never does."""

from __future__ import annotations

import fcntl
import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from backup_platform.storage import local, local_leftovers
from backup_platform.storage.base import StoreUnavailable
from backup_platform.storage.local import LocalStore
from backup_platform.storage.local_leftovers import OLD_SECONDS, Leftovers, remove_leftovers

LATER = 2 * OLD_SECONDS
NAME = ".new-0123456789abcdef01234567"
WRITER = """
import sys
from pathlib import Path
from backup_platform.storage.local import LocalStore

class Endless:
    def read(self, size):
        print("reading", flush=True)
        return b"x" * 1000 if sys.stdin.readline() else b""

LocalStore(Path(sys.argv[1])).put("a/b/key", Endless())
"""


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    made = LocalStore.create(tmp_path / "store")
    made.put("a/b/there", b"content")
    return made


def tidied(store: LocalStore, prefix: str = "", *, later: float = LATER) -> tuple[int, int]:
    done = Leftovers()
    remove_leftovers(store, prefix, done, now=time.time() + later)
    return done.files, done.bytes


def hidden(store: LocalStore) -> list[str]:
    return sorted(path.name for path in store.root.rglob(".new-*"))


class Slow(io.RawIOBase):
    """Content that comes when the test says so."""

    def __init__(self) -> None:
        self.asked, self.go_on = threading.Event(), threading.Event()

    def read(self, size: int = -1) -> bytes:
        if self.asked.is_set():
            return b""
        self.asked.set()
        assert self.go_on.wait(60)
        return b"slow content"


def test_leftovers_go_wherever_they_are_and_their_bytes_are_told(store):
    for folder in ("", "a", "a/b"):
        (store.root / folder / NAME).write_bytes(bytes(100))
    assert tidied(store) == (3, 300)
    assert hidden(store) == []
    assert (store.get("a/b/there"), list(store.list())) == (b"content", ["a/b/there"])
    assert tidied(store) == (0, 0)


def test_only_the_folder_asked_for_is_tidied(store):
    for folder in ("a", "a/b"):
        (store.root / folder / NAME).write_bytes(b"x")
    assert tidied(store, "a/b") == (1, 1)
    assert tidied(store, "nowhere/at/all") == (0, 0)
    assert hidden(store) == [NAME]


@pytest.mark.parametrize("name", [".new-short", ".new-0123456789ABCDEF01234567", ".newer", NAME[1:],
                                  NAME + "0", ".strongroom-other"])  # fmt: skip
def test_what_we_did_not_name_stays(store, name):
    (store.root / "a" / name).write_bytes(b"x")
    assert tidied(store) == (0, 0)
    assert (store.root / "a" / name).exists()


def test_a_store_keeps_its_mark(store):
    tidied(store)
    LocalStore(store.root)


@pytest.mark.defence
def test_a_young_file_stays(store):
    (store.root / "a" / NAME).write_bytes(b"x")
    assert tidied(store, later=OLD_SECONDS - 60) == (0, 0)
    assert tidied(store, later=-1e9) == (0, 0), "a clock that leapt back"
    assert hidden(store) == [NAME]


@pytest.mark.defence
def test_what_is_being_written_stays_however_old_it_looks(store):
    slow, said = Slow(), []
    writer = threading.Thread(target=lambda: said.append(store.put("a/b/slow", slow)))
    writer.start()
    try:
        assert slow.asked.wait(60)
        assert len(hidden(store)) == 1
        assert tidied(store) == (0, 0)
        assert len(hidden(store)) == 1
    finally:
        slow.go_on.set()
        writer.join(60)
    assert (said, store.get("a/b/slow"), hidden(store)) == ([None], b"slow content", [])


@pytest.mark.defence
def test_what_another_process_writes_stays_until_that_process_has_died(store):
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(store.root)], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)  # fmt: skip
    try:
        assert process.stdout.readline() == "reading\n"
        process.stdin.write("more\n")
        process.stdin.flush()
        assert process.stdout.readline() == "reading\n"
        assert tidied(store) == (0, 0)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait(60)
    assert len(hidden(store)) == 1, "a killed writer leaves its file behind"
    assert tidied(store) == (1, 1000)


def test_a_second_name_of_an_object_goes_and_the_object_stays(store):
    """Cut off between giving the name and taking the hidden one away."""
    os.link(store.root / "a/b/there", store.root / "a/b" / NAME)
    assert tidied(store) == (1, 0)
    assert (store.get("a/b/there"), hidden(store)) == (b"content", [])


def test_links_and_folders_of_such_a_name_stay(store, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / NAME).write_bytes(b"x")
    (store.root / "a" / NAME).symlink_to(outside / NAME)
    (store.root / "a" / "lead-out").symlink_to(outside)
    (store.root / "a/b" / NAME).mkdir()
    assert tidied(store) == (0, 0)
    assert (outside / NAME).exists()


@pytest.mark.defence
def test_where_locks_cannot_be_asked_for_nothing_is_removed_and_writing_goes_on(store, monkeypatch):
    def refuse(descriptor, how):
        raise OSError(38, "no locks here")

    monkeypatch.setattr(local.fcntl, "flock", refuse)
    (store.root / "a" / NAME).write_bytes(b"x")
    assert tidied(store) == (0, 0)
    store.put("a/more", b"content")
    assert store.get("a/more") == b"content"


@pytest.mark.defence
def test_a_file_that_was_removed_before_its_writer_locked_it_is_made_again(store, monkeypatch):
    """The moment between making a file and locking it: the writer sees that its file has lost its name."""
    real, taken = fcntl.flock, []

    def flock(descriptor, how):
        if not taken:
            taken.append(hidden(store))
            (store.root / "a/b" / taken[0][0]).unlink()
        return real(descriptor, how)

    monkeypatch.setattr(local.fcntl, "flock", flock)
    store.put("a/b/key", b"content")
    assert store.get("a/b/key") == b"content"
    assert len(taken[0]) == 1
    assert hidden(store) == []


def test_a_folder_that_cannot_be_read_is_said_and_what_was_removed_is_counted(store, monkeypatch):
    (store.root / NAME).write_bytes(b"xy")
    real = os.scandir

    def scandir(folder):
        if (os.stat("b", dir_fd=folder) if "b" in os.listdir(folder) else None) is not None:
            raise OSError(5, "Input/output error")
        return real(folder)

    monkeypatch.setattr(local_leftovers.os, "scandir", scandir)
    done = Leftovers()
    with pytest.raises(StoreUnavailable):
        remove_leftovers(store, "", done, now=time.time() + LATER)
    assert (done.files, done.bytes) == (1, 2)


def test_a_store_that_is_away_is_said(store):
    (store.root / local.MARK).unlink()
    with pytest.raises(StoreUnavailable):
        tidied(store)


def test_whoever_asks_may_stop_it(store):
    class Enough(Exception):
        pass

    def stop() -> None:
        raise Enough

    with pytest.raises(Enough):
        remove_leftovers(store, "", Leftovers(), heartbeat=stop)
