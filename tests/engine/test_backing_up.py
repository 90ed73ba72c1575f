"""Whole backups against a server in memory; every one is opened again and compared with the tree."""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from agents.engine.faults import Cancelled
from agents.errors import Disconnected, Refused, UsageFault
from protocol.stored.manifests import EntryType
from tests.engine.machines import TICK, Machine
from tests.engine.memory_link import Vault

KIB, MIB = 1024, 1024 * 1024


@pytest.fixture
def vault() -> Vault:
    return Vault()


@pytest.fixture
def machine(tmp_path: Path, vault: Vault) -> Machine:
    return Machine(tmp_path, vault)


def make_tree(root: Path, files: int = 60, seed: int = 1) -> Path:
    """Small files of text-like content over some directories, and two large ones."""
    rng = random.Random(seed)
    for number in range(files):
        directory = root / f"d{number % 7}" / f"e{number % 3}"
        directory.mkdir(parents=True, exist_ok=True)
        words = (rng.choice(["alpha", "beta", "gamma", "delta\n"]) for _ in range(rng.randrange(0, 3000)))
        (directory / f"f{number}.txt").write_text(" ".join(words))
    (root / "large.bin").write_bytes(rng.randbytes(3 * MIB + 17))
    (root / "middle.bin").write_bytes(rng.randbytes(300 * KIB))
    return root


def content_size(tree: Path) -> int:
    return sum(path.stat().st_size for path in tree.rglob("*") if path.is_file() and not path.is_symlink())


def settle() -> None:
    """Let file times grow old enough to be trusted."""
    time.sleep(TICK)


def test_first_backup_opens_to_the_same_tree(tmp_path, machine):
    tree = make_tree(tmp_path / "tree")
    (tree / "empty").write_bytes(b"")
    (tree / "link").symlink_to("d0/nowhere")
    result = machine.back_up(tree)
    machine.opened().assert_equals(tree)
    assert result.errors == 0
    assert result.files_new == result.files == 63
    assert result.files_changed == result.files_unmodified == 0
    assert result.bytes_read == result.bytes == content_size(tree)
    assert machine.progress.found == 63
    assert machine.progress.states == {"new": 63}
    assert machine.snapshot().id == result.snapshot_id
    assert machine.snapshot().statistics.files == 63


def test_unchanged_backup_reads_and_sends_nothing_of_the_sources(tmp_path, machine):
    tree = make_tree(tmp_path / "tree")
    settle()
    machine.back_up(tree)
    result = machine.back_up(tree)
    machine.opened().assert_equals(tree)
    assert result.bytes_read == 0
    assert (result.files_new, result.files_changed, result.files_unmodified) == (0, 0, 62)
    assert machine.progress.states == {"unmodified": 62}
    assert machine.progress.found == 62
    # Only the way to the tree may differ, since its parents' times change.
    assert result.chunks_sent <= 1


def test_file_times_that_are_too_young_are_not_trusted(tmp_path, machine):
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "young").write_bytes(b"one")
    os.utime(tree / "young", ns=(0, time.time_ns() + 3_600_000_000_000))
    settle()
    machine.back_up(tree)
    result = machine.back_up(tree)
    assert (result.bytes_read, result.files_unmodified, result.chunks_sent) == (3, 1, result.chunks_sent)
    machine.opened().assert_equals(tree)


def test_changed_deleted_and_new_files_are_told_apart(tmp_path, machine):
    tree = make_tree(tmp_path / "tree")
    settle()
    machine.back_up(tree)
    (tree / "d0/e0/f0.txt").write_text("something else")
    (tree / "d1/e1/f1.txt").unlink()
    (tree / "d2/new.txt").write_text("new")
    os.chmod(tree / "d2/e2/f2.txt", 0o600)
    result = machine.back_up(tree)
    machine.opened().assert_equals(tree)
    assert (result.files_new, result.files_changed, result.files_unmodified) == (1, 2, 59)
    assert result.bytes_read == len("something else") + 3 + (tree / "d2/e2/f2.txt").stat().st_size


def test_file_whose_size_and_time_were_put_back_is_read_again(tmp_path, machine):
    tree = make_tree(tmp_path / "tree")
    victim = tree / "d0/e0/f0.txt"
    victim.write_bytes(b"a" * 100)
    settle()
    machine.back_up(tree)
    info = victim.stat()
    victim.write_bytes(b"b" * 100)
    os.utime(victim, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert machine.back_up(tree).files_changed == 1
    machine.opened().assert_equals(tree)


def test_second_machine_with_the_same_tree_sends_almost_nothing(tmp_path, vault, machine):
    tree = make_tree(tmp_path / "tree", files=300)
    first = machine.back_up(tree)
    second = Machine(tmp_path, vault, "beta")
    result = second.back_up(tree)
    second.opened().assert_equals(tree)
    assert result.bytes_read == first.bytes_read
    assert result.bytes_sent <= first.bytes_sent // 100


def test_one_changed_small_file_among_many_costs_little(tmp_path, machine):
    tree = tmp_path / "tree"
    for number in range(10_000):
        if number % 100 == 0:
            (tree / f"{number // 100:03}").mkdir(parents=True)
        (tree / f"{number // 100:03}" / f"{number}").write_bytes(b"%d " % number * (number % 40))
    settle()
    full = machine.back_up(tree)
    (tree / "050/5050").write_bytes(b"changed")
    result = machine.back_up(tree)
    assert result.bytes_read == 7
    assert result.chunks_sent <= 3
    assert result.bytes_sent < max(full.bytes_sent // 5, 64 * KIB)
    machine.opened().assert_equals(tree)


def test_zeros_empty_and_exact_sizes_come_back(tmp_path, machine):
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "zeros").write_bytes(bytes(9 * MIB))
    (tree / "empty").write_bytes(b"")
    for size in (1, 256 * KIB - 1, 256 * KIB, 256 * KIB + 1, MIB, 4 * MIB, 4 * MIB + 1, 16 * MIB, 16 * MIB + 1):
        (tree / f"size-{size}").write_bytes(random.Random(size).randbytes(size))
    machine.back_up(tree)
    machine.opened().assert_equals(tree)


def test_sparse_file_of_five_gibibytes_is_quick_and_exact(tmp_path, machine):
    tree = tmp_path / "tree"
    tree.mkdir()
    with open(tree / "sparse", "wb") as file:
        file.write(b"begin" * 100_000)
        file.seek(3 << 30)
        file.write(b"middle" * 100_000)
        file.truncate(5 << 30)
    started = time.monotonic()
    result = machine.back_up(tree)
    assert time.monotonic() - started < 15
    assert result.bytes_read < 2 * MIB
    assert result.bytes_sent < MIB
    opened = machine.opened()
    entry = opened.entry(tree / "sparse")
    assert entry.size == 5 << 30
    assert sum(length for _, length in entry.sparse) > (4 << 30)
    position = 0
    chunks: dict[bytes, bytes | None] = {}
    with open(tree / "sparse", "rb") as file:
        for _, pieces in opened.entries[os.fsencode(tree / "sparse")]:
            for chunk_id, h, offset, length in pieces:
                if chunk_id not in chunks:
                    plain = opened.chunk(chunk_id, h)
                    chunks[chunk_id] = plain if plain.strip(b"\0") else None
                plain = chunks[chunk_id]
                if plain is None:
                    # Zeros; that the file has none but zeros here is what its own hole says.
                    assert os.lseek(file.fileno(), position, os.SEEK_HOLE) <= position + MIB
                else:
                    assert os.pread(file.fileno(), length, position) == plain[offset : offset + length]
                position += length
    assert position == 5 << 30


def test_hostile_names_come_back(tmp_path, machine):
    tree = tmp_path / "tree"
    names = [b"line\nend", b"\x1b[31mred", b"\xff\xfe", "ünïcode".encode(), b"x" * 255, b" ", b"-rf", b"a.b", b"a"]
    tree.mkdir()
    for name in names:
        with open(os.fsencode(tree) + b"/" + name, "wb") as file:
            file.write(name)
    # Between `a` as a directory and `a.b`, path order and plain byte order differ.
    (tree / "a").unlink()
    (tree / "a").mkdir()
    (tree / "a" / "inside").write_bytes(b"inside")
    machine.back_up(tree)
    machine.opened().assert_equals(tree)


def test_tree_of_a_thousand_levels_is_saved_whole(tmp_path, machine):
    tree = tmp_path / "tree"
    tree.mkdir()
    depth, name = 1000, b"level-name"
    descriptor = os.open(tree, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=descriptor)
        os.mkdir(b"zz", dir_fd=descriptor)
        below = os.open(name, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(os.open(b"bottom", os.O_WRONLY | os.O_CREAT, dir_fd=descriptor))
    os.close(descriptor)
    try:
        result = machine.back_up(tree)
        assert result.errors == 0
        assert (result.files, result.directories) == (1, 2 * depth + len(tree.parts))
        assert os.fsencode(tree) + (b"/" + name) * depth + b"/bottom" in machine.opened().paths()
    finally:
        os.system(f"rm -rf {tree}")  # noqa: S605 - shutil.rmtree recurses


def test_fifos_sockets_and_devices_are_recorded_and_never_opened(tmp_path, machine):
    tree = tmp_path / "tree"
    tree.mkdir()
    os.mkfifo(tree / "fifo")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tree / "socket"))
    result = machine.back_up(tree)
    listener.close()
    opened = machine.opened()
    assert opened.entry(tree / "fifo").type == EntryType.FIFO
    assert opened.entry(tree / "socket").type == EntryType.SOCKET
    assert (result.others, result.errors) == (2, 0)


def test_links_are_never_followed(tmp_path, machine):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "directory").symlink_to(outside)
    (tree / "file").symlink_to(outside / "secret")
    machine.back_up(tree)
    machine.opened().assert_equals(tree)


def test_hard_links_share_a_group_and_are_read_once(tmp_path, machine):
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a").write_bytes(b"shared" * 1000)
    os.link(tree / "a", tree / "b")
    (tree / "c").write_bytes(b"alone")
    result = machine.back_up(tree)
    opened = machine.opened()
    opened.assert_equals(tree)
    assert opened.entry(tree / "a").hardlink == opened.entry(tree / "b").hardlink != 0
    assert opened.entry(tree / "c").hardlink == 0
    assert result.bytes_read == 6005


def test_extended_attributes_are_kept(tmp_path, machine):
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_bytes(b"x")
    try:
        os.setxattr(tree / "file", "user.colour", b"blue\0")
        os.setxattr(tree, "user.kind", b"directory")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    machine.back_up(tree)
    assert machine.opened().entry(tree / "file").xattrs == [(b"user.colour", b"blue\0")]
    assert machine.opened().entry(tree).xattrs == [(b"user.kind", b"directory")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything")
def test_unreadable_files_are_named_and_the_rest_goes_on(tmp_path, machine):
    tree = make_tree(tmp_path / "tree")
    (tree / "closed").mkdir(mode=0)
    (tree / "middle.bin").chmod(0)
    result = machine.back_up(tree)
    assert {path for path, _ in machine.progress.errors} == {bytes(tree / "closed"), bytes(tree / "middle.bin")}
    assert result.errors == 2
    assert os.fsencode(tree / "large.bin") in machine.opened().paths()


def test_sources_that_do_not_exist_are_named(tmp_path, machine):
    tree = make_tree(tmp_path / "tree")
    result = machine.back_up(tree, tmp_path / "nothing")
    assert [(path, reason) for path, reason in machine.progress.errors] == [
        (os.fsencode(tmp_path / "nothing"), "no such file or directory")
    ]
    assert result.errors == 1
    machine.opened().assert_equals(tree)


def test_nested_and_repeated_sources_are_saved_once(tmp_path, machine):
    tree = make_tree(tmp_path / "tree")
    other = make_tree(tmp_path / "other", files=5)
    result = machine.back_up(tree / "d0", other, tree, tree, tree / "d0" / "e0")
    assert result.files == 62 + 7
    machine.opened().assert_equals(tree, other)


def test_file_that_changes_while_it_is_read_is_saved_and_named(tmp_path, machine, monkeypatch):
    from agents.engine import large_files, saving

    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "restless").write_bytes(b"x" * 1000)
    (tree / "restless-large").write_bytes(b"y" * 500_000)
    (tree / "still").write_bytes(b"z")
    settle()
    read = saving.read_small
    reads = []

    def restless(descriptor, size):
        data = read(descriptor, size)
        if size == 1000:
            reads.append(size)
            os.utime(tree / "restless")
        return data

    read_once = large_files.LargeFileReader._read_once

    def restless_large(self, *rest):
        content = read_once(self, *rest)
        os.utime(tree / "restless-large")
        return content

    monkeypatch.setattr(saving, "read_small", restless)
    monkeypatch.setattr(large_files.LargeFileReader, "_read_once", restless_large)
    result = machine.back_up(tree)
    monkeypatch.undo()
    assert len(reads) == saving.READS + 1
    assert result.errors == 2
    assert {path for path, _ in machine.progress.errors} == {
        os.fsencode(tree / "restless"),
        os.fsencode(tree / "restless-large"),
    }
    opened = machine.opened()
    assert opened.content(tree / "restless") == b"x" * 1000
    assert opened.content(tree / "restless-large") == b"y" * 500_000
    settle()
    assert machine.back_up(tree).errors == 0
    machine.opened().assert_equals(tree)


def test_tree_that_changes_under_the_scan_gives_a_sound_snapshot(tmp_path, machine):
    tree = make_tree(tmp_path / "tree", files=400)
    stop = threading.Event()

    def disturb() -> None:
        rng = random.Random(2)
        while not stop.is_set():
            victim = tree / f"d{rng.randrange(7)}" / f"e{rng.randrange(3)}" / f"f{rng.randrange(400)}.txt"
            with_luck = rng.random()
            try:
                if with_luck < 0.3:
                    victim.unlink()
                elif with_luck < 0.6:
                    victim.write_bytes(rng.randbytes(rng.randrange(2000)))
                else:
                    victim.rename(victim.with_suffix(".moved"))
            except OSError:
                continue

    disturber = threading.Thread(target=disturb)
    disturber.start()
    try:
        for _ in range(4):
            machine.back_up(tree)
            opened = machine.opened()
            for path in opened.paths():
                entry = opened.entry(path)
                assert len(opened.content(path)) == entry.size
    finally:
        stop.set()
        disturber.join()
    settle()
    machine.back_up(tree)
    machine.opened().assert_equals(tree)


def test_chunks_missing_at_commit_are_read_and_sent_again(tmp_path, vault, machine):
    tree = make_tree(tmp_path / "tree", files=300)
    settle()
    machine.back_up(tree)
    (tree / "d0/e0/f0.txt").write_text("changed")
    link = machine.connect()

    def lose(number: int) -> None:
        if number == 1:
            vault.lose({identity for kind, identity in list(vault.records)})

    link.before_commit = lose
    result = machine.back_up(tree, connect=False)
    assert link.commits >= 2
    assert result.files_changed == 1
    machine.opened().assert_equals(tree)


def test_backup_fails_after_three_rounds_of_missing_chunks(tmp_path, vault, machine):
    tree = make_tree(tmp_path / "tree")
    link = machine.connect()
    link.before_commit = lambda number: vault.lose({identity for kind, identity in list(vault.records)})
    with pytest.raises(Refused, match="still lacks"):
        machine.back_up(tree, connect=False)
    assert link.commits == 4
    machine.back_up(tree)
    machine.opened().assert_equals(tree)


def test_wanted_chunks_are_sent_again_under_the_same_ids(tmp_path, vault, machine):
    tree = make_tree(tmp_path / "tree", files=900)
    settle()
    machine.back_up(tree)
    before = machine.snapshot()
    chunks = {identity for kind, identity in vault.records if kind == 1}
    segments = {ref.chunk_id for ref in machine.opened().root.segments}
    lost = set(sorted(chunks - segments)[:3])
    vault.lose(lost)
    vault.wanted |= lost
    machine.back_up(tree)
    machine.opened().assert_equals(tree)
    # The earlier snapshot is healed as well: the files, bundles included, were put together as they had been.
    machine.opened(before).assert_equals(tree)
    assert not vault.wanted


def test_changed_generation_makes_every_id_asked_and_the_lost_ones_sent(tmp_path, vault, machine):
    tree = make_tree(tmp_path / "tree", files=300)
    settle()
    machine.back_up(tree)
    result = machine.back_up(tree)
    assert machine.link.asked_ids <= 3
    vault.generation += 1
    result = machine.back_up(tree)
    assert machine.link.asked_ids >= len([1 for kind, _ in vault.records if kind == 1]) - 3
    assert result.bytes_read == 0
    vault.generation += 1
    vault.lose(set(sorted(identity for kind, identity in vault.records)[::3]))
    machine.back_up(tree)
    machine.opened().assert_equals(tree)
    assert machine.link.commits == 1


def test_what_changes_on_the_way_to_the_sources_has_only_the_way_written_again(tmp_path, vault, machine):
    """/tmp changes all the time; the segments of the sources are used as they are."""
    tree = make_tree(tmp_path / "tree", files=300)
    settle()
    machine.back_up(tree)
    (tmp_path / "somebody else's").write_bytes(b"")
    result = machine.back_up(tree)
    assert machine.link.asked_ids <= 2
    assert result.bytes_read == 0
    machine.opened().assert_equals(tree)


def test_generation_that_changes_during_a_run_is_noticed_before_the_commit(tmp_path, vault, machine):
    tree = make_tree(tmp_path / "tree", files=300)
    settle()
    machine.back_up(tree)
    (tree / "new").write_bytes(b"new")
    link = machine.connect()
    drained = []

    def drain() -> None:
        if not drained:
            vault.generation += 1
            vault.lose(set(sorted(identity for kind, identity in vault.records)[::2]))
        drained.append(1)

    link.drain = drain
    machine.back_up(tree, connect=False)
    assert link.commits == 1
    machine.opened().assert_equals(tree)


def test_interrupted_backup_goes_on_where_it_was(tmp_path, vault, machine):
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(12):
        (tree / f"large-{number}").write_bytes(random.Random(number).randbytes(2 * MIB))
    link = machine.connect()

    def cut(number: int) -> None:
        if number >= 10:
            raise Disconnected("The connection broke.")

    link.before_put = cut
    with pytest.raises(Disconnected):
        machine.back_up(tree, connect=False)
    stored = vault.stored_bytes()
    assert stored > 4 * MIB
    result = machine.back_up(tree)
    assert result.bytes_sent < 24 * MIB - stored + 64 * KIB
    machine.opened().assert_equals(tree)


def test_cancelled_backup_stops_within_a_second_and_leaves_nothing_running(tmp_path, machine):
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(40):
        (tree / f"large-{number}").write_bytes(random.Random(number).randbytes(MIB))
    cancel, link = threading.Event(), machine.connect()
    times: list[float] = []

    def slow(number: int) -> None:
        if number == 3:
            times.append(time.monotonic())
            cancel.set()

    link.before_put = slow
    with pytest.raises(Cancelled):
        machine.back_up(tree, connect=False, cancel=cancel)
    assert time.monotonic() - times[0] < 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("sealing-")]
    assert machine.home.last_statement() is None


def test_keyboard_interrupt_in_the_reader_stops_the_workers(tmp_path, machine, monkeypatch):
    from agents.engine import saving

    def interrupted(descriptor, size):
        raise KeyboardInterrupt

    tree = make_tree(tmp_path / "tree")
    monkeypatch.setattr(saving, "read_small", interrupted)
    with pytest.raises(KeyboardInterrupt):
        machine.back_up(tree)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("sealing-")]


@pytest.mark.defence
def test_nothing_is_committed_before_everything_is_acknowledged(tmp_path, machine):
    """Law 1 as the agent sees it: what a commit names is durable before the commit is sent."""
    tree, link, order = make_tree(tmp_path / "tree"), machine.connect(), []

    def noting(name, call):
        def noted(*arguments):
            order.append(name)
            return call(*arguments)

        return noted

    for name in ("put", "drain", "commit"):
        setattr(link, name, noting(name, getattr(link, name)))
    machine.back_up(tree, connect=False)
    assert order[-2:] == ["drain", "commit"]
    assert "put" in order


def test_lost_acknowledgement_is_recognised_by_the_next_backup(tmp_path, vault, machine):
    tree = make_tree(tmp_path / "tree")
    settle()
    link = machine.connect()
    link.lose_answer = True
    with pytest.raises(Disconnected):
        machine.back_up(tree, connect=False)
    assert machine.home.last_statement() is None
    result = machine.back_up(tree)
    assert result.sequence == 2
    # The cache was staged with the statement, so it became valid with it.
    assert result.bytes_read == 0
    machine.opened().assert_equals(tree)


def test_commit_that_never_arrived_is_dropped_and_made_anew(tmp_path, vault, machine):
    tree = make_tree(tmp_path / "tree")
    settle()
    machine.back_up(tree)
    (tree / "new").write_bytes(b"new")
    link = machine.connect()

    def cut(number: int) -> None:
        raise Disconnected("The connection broke.")

    link.before_commit = cut
    with pytest.raises(Disconnected):
        machine.back_up(tree, connect=False)
    assert machine.home.pending_statement() is not None
    result = machine.back_up(tree)
    assert (result.sequence, result.files_new) == (2, 1)
    assert machine.home.pending_statement() is None
    machine.opened().assert_equals(tree)


@pytest.mark.defence
@pytest.mark.parametrize("head", [(b"\x01" * 32, 5), (bytes(32), 0), (b"\x01" * 32, 1)])
def test_forged_or_shortened_chain_is_refused(tmp_path, machine, head):
    tree = make_tree(tmp_path / "tree")
    machine.back_up(tree)
    link = machine.connect()
    link.head = head
    with pytest.raises(Refused, match="newest statement"):
        machine.back_up(tree, connect=False)
    assert link.puts == []


@pytest.mark.defence
def test_server_that_hands_a_new_machine_a_head_is_refused(tmp_path, machine):
    tree = make_tree(tmp_path / "tree")
    machine.connect().head = (b"\x01" * 32, 1)
    with pytest.raises(Refused, match="newest statement"):
        machine.back_up(tree, connect=False)


def test_damaged_cache_is_thrown_away_with_a_note(tmp_path, machine):
    tree = make_tree(tmp_path / "tree")
    settle()
    machine.back_up(tree)
    machine.home.cache_path.write_bytes(b"this is no database" * 1000)
    result = machine.back_up(tree)
    assert result.bytes_read > 0
    assert any("thrown away" in note for note in result.notes)
    machine.opened().assert_equals(tree)
    assert machine.back_up(tree).bytes_read == 0


@pytest.mark.parametrize("seed", range(12))
def test_flipped_bytes_in_the_cache_never_make_a_wrong_snapshot(tmp_path, machine, seed):
    tree = make_tree(tmp_path / "tree", files=200)
    settle()
    machine.back_up(tree)
    data = bytearray(machine.home.cache_path.read_bytes())
    rng = random.Random(seed)
    for _ in range(1 + 40 * (seed % 3)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    machine.home.cache_path.write_bytes(data)
    (tree / "d0/e0/f0.txt").write_text("changed")
    machine.back_up(tree)
    machine.opened().assert_equals(tree)


def test_cache_of_another_vault_is_not_used(tmp_path, vault, machine):
    tree = make_tree(tmp_path / "tree")
    settle()
    machine.back_up(tree)
    other = Machine(tmp_path, Vault(), "other")
    machine.home.cache_path.rename(other.home.cache_path)
    result = other.back_up(tree)
    assert result.bytes_read == result.bytes
    assert any("another vault" in note for note in result.notes)
    other.opened().assert_equals(tree)


def test_cache_file_is_only_for_its_owner(tmp_path, machine):
    old = os.umask(0)
    try:
        machine.back_up(make_tree(tmp_path / "tree"))
    finally:
        os.umask(old)
    assert machine.home.cache_path.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in machine.home.path.iterdir() if "cache" in path.name] == ["cache.sqlite"]


def test_backup_of_its_own_home_leaves_the_cache_out(tmp_path, machine):
    make_tree(tmp_path / "tree", files=3)
    result = machine.back_up(tmp_path)
    assert result.errors == 0
    assert os.fsencode(machine.home.cache_path) not in machine.opened().paths()


def test_mostly_unused_bundle_is_written_anew(tmp_path, vault, machine):
    tree = tmp_path / "tree"
    tree.mkdir()
    rng = random.Random(3)
    for number in range(300):
        (tree / f"{number:03}").write_bytes(rng.randbytes(8 * KIB))
    settle()
    machine.back_up(tree)
    for number in range(300):
        if number % 10:
            (tree / f"{number:03}").unlink()
    kept = sorted(tree.iterdir())
    settle()
    result = machine.back_up(tree)
    assert result.bytes_read == 0
    used = set()
    for _ in range(8):
        result = machine.back_up(tree)
        used.add(result.bytes_read)
    assert max(used) > 0, "remaining files of mostly unused bundles are read"
    opened = machine.opened()
    opened.assert_equals(tree)
    chunks = {chunk_id for path in kept for _, pieces in opened.entries[os.fsencode(path)] for chunk_id, *_ in pieces}
    assert sum(len(vault.records[1, each]) for each in chunks) < 2.2 * 30 * 8 * KIB
    assert machine.back_up(tree).bytes_read == 0


def test_file_with_very_many_extents_is_told_in_parts(tmp_path, machine, monkeypatch):
    from agents.engine import large_files
    from protocol.stored import manifests

    monkeypatch.setattr(large_files, "MAX_EXTENTS", 16)
    monkeypatch.setattr(manifests, "MAX_EXTENTS", 16)
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "before").write_bytes(b"before")
    (tree / "large").write_bytes(random.Random(4).randbytes(8 * MIB))
    (tree / "more").write_bytes(b"more")
    settle()
    machine.back_up(tree, chunker="fastcdc-64k")
    assert len(machine.opened().entries[os.fsencode(tree / "large")]) > 4
    machine.opened().assert_equals(tree)
    assert machine.back_up(tree, chunker="fastcdc-64k").bytes_read == 0
    (tree / "more").write_bytes(b"changed")
    assert machine.back_up(tree, chunker="fastcdc-64k").bytes_read == 7
    machine.opened().assert_equals(tree)
    (tree / "large").unlink()
    machine.back_up(tree)
    machine.opened().assert_equals(tree)


def test_nothing_to_back_up_is_a_usage_fault(tmp_path, machine):
    with pytest.raises(UsageFault):
        machine.back_up()
    with pytest.raises(UsageFault, match="None of the sources exists"):
        machine.back_up(tmp_path / "nothing")
    assert machine.link.begun_with is None


def test_compression_is_reported_by_group(tmp_path, machine):
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "video.mp4").write_bytes(random.Random(5).randbytes(2 * MIB))
    (tree / "words.txt").write_bytes(b"the same words again and again " * 40_000)
    effect = machine.back_up(tree).compression
    assert effect["video"].skipped == effect["video"].plain == 2 * MIB
    assert effect["text"].sealed * 10 < effect["text"].plain
    assert effect["text"].skipped == 0


@pytest.mark.parametrize("force", [False, True])
def test_forced_reading_distrusts_the_cache(tmp_path, machine, force):
    tree = make_tree(tmp_path / "tree")
    settle()
    first = machine.back_up(tree)
    result = machine.back_up(tree, force_read=force)
    assert result.bytes_read == (first.bytes_read if force else 0)
    machine.opened().assert_equals(tree)


def test_server_that_acknowledges_another_snapshot_is_refused(tmp_path, machine):
    """Otherwise people would note down, and scripts act upon, a snapshot id of the server's choice."""
    tree = make_tree(tmp_path / "tree")
    link = machine.connect()
    honest = link.commit
    link.commit = lambda *commit: replace(honest(*commit), snapshot=b"x" * 16)
    with pytest.raises(Refused, match="another snapshot"):
        machine.back_up(tree, connect=False)
    assert machine.home.last_statement() is None
    assert machine.home.pending_statement() is not None


def test_large_and_old_files_are_left_out_and_links_and_directories_are_not(tmp_path, machine):
    tree = tmp_path / "tree"
    (tree / "below").mkdir(parents=True)
    for name, size, days in (
        ("small", 10, 0),
        ("exact", 1000, 0),
        ("large", 1001, 0),
        ("old", 10, 31),
        ("aged", 10, 29),
    ):
        (tree / name).write_bytes(b"x" * size)
        when = time.time() - days * 86_400
        os.utime(tree / name, (when, when))
    (tree / "link").symlink_to("large")
    os.utime(tree / "below", (1, 1))
    machine.back_up(tree, max_file_size=1000, max_file_age_days=30)
    machine.opened().assert_equals(tree, without=[tree / "large", tree / "old"])
    assert machine.opened().root.exclusions[-2:] == ["files larger than 1000 bytes", "files not changed for 30 days"]


def test_named_file_is_saved_however_large(tmp_path, machine):
    (tmp_path / "large").write_bytes(b"x" * 5000)
    machine.back_up(tmp_path / "large", max_file_size=10)
    assert machine.opened().content(tmp_path / "large") == b"x" * 5000


def test_includes_take_back_in_what_exclusions_left_out(tmp_path, machine):
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("a.log", "b.log", "keep.log"):
        (tree / name).write_bytes(b"x")
    machine.back_up(tree, exclude=["*.log"], include=["keep.log"])
    machine.opened().assert_equals(tree, without=[tree / "a.log", tree / "b.log"])


def test_cache_directories_and_other_default_exclusions_are_chosen_apart(tmp_path, machine):
    tagged = tmp_path / "tree" / "cache"
    tagged.mkdir(parents=True)
    (tagged / "CACHEDIR.TAG").write_bytes(b"Signature: 8a477f597d28d172789f06886806bc55\n")
    (tagged / "content").write_bytes(b"x")
    machine.back_up(tmp_path / "tree", cache_dir_tags=False)
    machine.opened().assert_equals(tmp_path / "tree")
    machine.back_up(tmp_path / "tree", default_exclusions=False, cache_dir_tags=True)
    machine.opened().assert_equals(tmp_path / "tree", without=[tagged / "content"])


def test_limits_below_zero_are_refused(tmp_path, machine):
    with pytest.raises(UsageFault, match="below zero"):
        machine.back_up(tmp_path, max_file_size=-1)
