"""Where bundles and manifest segments end: by their content, the same on every machine."""

from __future__ import annotations

import random

from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.engine.bundling import LARGEST, MOST_FILES, SMALL_FILE, SMALLEST, Bundler
from agents.engine.manifests import LARGEST as LARGEST_SEGMENT
from agents.engine.manifests import SegmentDraft, SegmentWriter, read_segment
from agents.engine.slots import Slot
from protocol.stored.blocks import block_contains, decode_block
from protocol.stored.manifests import Entry, EntryType

KEY = bytes(range(32))


def bundle(files: list[bytes], key: bytes = KEY) -> list[bytes]:
    made: list[bytes] = []
    bundler = Bundler(key, lambda parts, slot: made.append(b"".join(parts)))
    placed = [(bundler.add(data, blake3(data).digest()), data) for data in files]
    bundler.end()
    assert b"".join(made) == b"".join(files)
    slots = list(dict.fromkeys(slot for (slot, _), _ in placed))
    for (slot, offset), data in placed:
        assert made[slots.index(slot)][offset : offset + len(data)] == data
        assert slot.length == len(made[slots.index(slot)])
    return made


sizes = st.lists(st.integers(1, SMALL_FILE - 1), max_size=60)


@settings(max_examples=40, deadline=None)
@given(sizes=sizes, seed=st.integers(0, 1000))
def test_bundles_are_within_bounds_and_the_same_every_time(sizes, seed):
    rng = random.Random(seed)
    files = [rng.randbytes(size) for size in sizes]
    made = bundle(files)
    assert made == bundle(files)
    assert all(SMALLEST <= len(each) < LARGEST + SMALL_FILE for each in made[:-1])


def many_files(seed: int, count: int = 3000) -> list[bytes]:
    rng = random.Random(seed)
    return [rng.randbytes(rng.randrange(1, 12_000)) for _ in range(count)]


def test_trees_that_differ_in_one_file_share_most_bundles():
    files = many_files(1)
    before = set(bundle(files))
    for changed in ([*files[:500], b"new", *files[500:]], [*files[:500], *files[501:]]):
        after = bundle(changed)
        assert len(set(after) - before) <= 4
    assert 8 < len(before) < 40


def test_vaults_end_bundles_at_different_files():
    files = many_files(2)
    assert set(bundle(files)[:-1]).isdisjoint(bundle(files, b"\1" * 32)[1:-1])


def test_files_of_one_byte_do_not_gather_for_ever():
    made = bundle([b"x"] * (2 * MOST_FILES + 1))
    assert [len(each) for each in made] == [MOST_FILES, MOST_FILES, 1]


def test_healing_bundles_hold_only_files_of_the_lost_one():
    made: list[list[bytes]] = []
    bundler = Bundler(KEY, lambda parts, slot: made.append(parts))
    for data, healing in ((b"a", b""), (b"b", b"L"), (b"c", b"L"), (b"d", b"M"), (b"e", b"")):
        bundler.add(data, blake3(data).digest(), healing)
    bundler.end()
    assert made == [[b"a"], [b"b", b"c"], [b"d"], [b"e"]]


def file_entry(path: bytes, size: int = 5, digest: bytes = b"\1" * 32) -> Entry:
    return Entry(path, EntryType.FILE, 0o644, 0, 0, "root", "root", size, 1, [], digest)


def slot_of(number: int) -> Slot:
    return Slot.known(blake3(b"id%d" % number).digest(), blake3(b"h%d" % number).digest())


def segments(entries: list[tuple[Entry, list[tuple[Slot, int, int]]]], key: bytes = KEY) -> list[bytes]:
    drafts: list[SegmentDraft] = []
    writer = SegmentWriter(key, drafts.append)
    for entry, references in entries:
        writer.add(entry, references, (entry.path, 0, 0, 0, 0, 0, 0, 0))
    writer.end()
    assert all(draft.is_ready() for draft in drafts)
    encoded = [draft.encode() for draft in drafts]
    for each in encoded:
        assert [key[0] for key in each.keys] == [entry.path for entry, _ in read_segment(each.plain)]
        block = each.block(b"\xee" * 32)
        assert decode_block(block) == sorted({*each.chunk_ids, b"\xee" * 32})
        assert block_contains(block, b"\xee" * 32)
    return [each.plain for each in encoded]


def make_entries(count: int, changed: int = -1) -> list[tuple[Entry, list[tuple[Slot, int, int]]]]:
    return [
        (
            file_entry(b"/tree/%05d" % number, 9 if number == changed else 5),
            [(slot_of(-1 if number == changed else number // 100), 0, 5)],
        )
        for number in range(count)
    ]


def test_segments_are_the_same_every_time_and_a_change_touches_one():
    before = segments(make_entries(8000))
    assert before == segments(make_entries(8000))
    assert len(before) > 5
    after = segments(make_entries(8000, changed=4000))
    assert len(set(after) - set(before)) == 1


def test_an_insertion_moves_few_segment_ends():
    before = set(segments(make_entries(8000)))
    entries = make_entries(8000)
    entries.insert(3000, (file_entry(b"/tree/02999x"), [(slot_of(7), 0, 5)]))
    assert len(set(segments(entries)) - before) <= 3


@settings(max_examples=30, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 200), min_size=1, max_size=400),
    extents=st.lists(st.integers(0, 300), min_size=1, max_size=50),
)
def test_segments_hold_every_entry_once_and_stay_bounded(lengths, extents):
    entries = [
        (
            file_entry(b"/%06d" % number + b"p" * length),
            [(slot_of(number + n), 0, 1) for n in range(extents[number % len(extents)])],
        )
        for number, length in enumerate(lengths)
    ]
    plain = segments(entries)
    read = [pair for each in plain for pair in read_segment(each)]
    assert [entry.path for entry, _ in read] == [entry.path for entry, _ in entries]
    for (_, resolved), (_, references) in zip(read, entries, strict=True):
        assert [(ref.id, ref.hash) for ref, _ in resolved] == [(slot.id, slot.h) for slot, _, _ in references]
    assert all(len(each) < 2 * LARGEST_SEGMENT for each in plain)


def test_file_that_is_one_chunk_takes_its_digest_from_the_chunk():
    slot = slot_of(1)
    (plain,) = segments([(file_entry(b"/a", 7, b""), [(slot, 0, 7)])])
    assert read_segment(plain)[0][0].digest == slot.h


def test_draft_is_not_ready_before_its_chunks_are_identified():
    drafts: list[SegmentDraft] = []
    writer = SegmentWriter(KEY, drafts.append)
    slots = [Slot(), Slot()]
    writer.add(file_entry(b"/a"), [(slots[0], 0, 5), (slots[1], 0, 5)], None)
    writer.add(file_entry(b"/b"), [(slots[0], 5, 5)], None)
    writer.end()
    for slot in slots:
        assert not drafts[0].is_ready()
        slot.h = slot.id = b"\3" * 32
    assert drafts[0].is_ready()
