"""Packs: what is written is found, and what is torn, cut or changed is noticed."""

from __future__ import annotations

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from protocol.stored import packs
from protocol.stored.errors import FormatError

VAULT, UID = b"v" * 16, b"p" * 16


def open_pack(bodies: list[bytes]) -> tuple[bytes, list[packs.IndexEntry]]:
    """Return an open pack of these sealed bytes, and what its index must be."""
    data, entries = packs.encode_pack_header(VAULT, UID), []
    for number, body in enumerate(bodies):
        record_id, digest = blake3(bytes([number])).digest(), blake3(body).digest()
        data += packs.encode_record_header(1 + number % 2, record_id, len(body), digest)
        entries.append(packs.IndexEntry(1 + number % 2, record_id, len(data), len(body), digest))
        data += body
    return data, entries


def sealed_pack(bodies: list[bytes]) -> tuple[bytes, list[packs.IndexEntry]]:
    data, entries = open_pack(bodies)
    index = packs.encode_index(entries)
    return data + index + packs.encode_trailer(len(data), len(entries), index), entries


def reader(data: bytes):
    return lambda offset, length: data[offset : offset + length]


bodies = st.lists(st.binary(min_size=1, max_size=200), max_size=6)


@given(bodies)
def test_a_sealed_packs_index_is_found_from_its_end(found):
    data, entries = sealed_pack(found)
    assert packs.read_index(reader(data), len(data)) == entries
    assert packs.decode_pack_header(data[:40]) == packs.PackHeader(VAULT, UID)
    assert [data[e.offset : e.offset + e.length] for e in entries] == found


@given(bodies)
def test_an_open_packs_records_are_found_by_walking(found):
    data, entries = open_pack(found)
    assert list(packs.scan_records(reader(data), len(data))) == entries


@given(bodies.filter(len), st.data())
def test_a_torn_tail_hides_only_what_was_torn(found, data_source):
    data, entries = open_pack(found)
    cut = data_source.draw(st.integers(40, len(data) - 1))
    whole = [entry for entry in entries if entry.offset + entry.length <= cut]
    assert list(packs.scan_records(reader(data[:cut]), cut)) == whole


@given(bodies.filter(len), st.data())
def test_one_changed_byte_in_a_record_ends_the_walk_before_it(found, data_source):
    data, entries = open_pack(found)
    victim = data_source.draw(st.sampled_from(entries))
    at = data_source.draw(st.integers(victim.offset, victim.offset + victim.length - 1))
    changed = bytearray(data)
    changed[at] ^= 1
    seen = list(packs.scan_records(reader(bytes(changed)), len(changed)))
    assert seen == [entry for entry in entries if entry.offset < victim.offset]


@given(bodies, st.data())
def test_any_changed_byte_in_index_or_trailer_is_refused(found, data_source):
    data, entries = sealed_pack(found)
    start = entries[-1].offset + entries[-1].length if entries else 40
    at = data_source.draw(st.integers(start, len(data) - 1))
    changed = bytearray(data)
    changed[at] ^= 1 << data_source.draw(st.integers(0, 7))
    with pytest.raises(FormatError):
        packs.read_index(reader(bytes(changed)), len(changed))


@given(bodies, st.data())
def test_a_cut_pack_is_refused(found, data_source):
    data, _ = sealed_pack(found)
    size = data_source.draw(st.integers(0, len(data) - 1))
    with pytest.raises(FormatError):
        packs.read_index(reader(data[:size]), size)


def test_an_index_that_leaves_a_gap_is_refused():
    data, entries = open_pack([b"one", b"two"])
    index = packs.encode_index(entries[:1])
    forged = data + index + packs.encode_trailer(len(data), 1, index)
    with pytest.raises(FormatError, match="undescribed"):
        packs.read_index(reader(forged), len(forged))


def test_a_record_of_unknown_kind_or_size_is_refused_when_written_and_when_read():
    for kind, length in ((0, 1), (3, 1), (1, 0), (1, packs.MAX_SEALED + 1)):
        with pytest.raises(FormatError):
            packs.encode_record_header(kind, bytes(32), length, bytes(32))
        with pytest.raises(FormatError):
            packs.decode_record_header(packs.RECORD.pack(kind, bytes(32), length, bytes(32)))


def test_a_trailer_cannot_ask_for_an_endless_index():
    trailer = packs.TRAILER.pack(40, packs.MAX_PACK_RECORDS + 1, 0, bytes(32), packs.TRAILER_MAGIC)
    with pytest.raises(FormatError, match="limit"):
        packs.decode_trailer(trailer)


def test_salvage_passes_over_a_rotten_record_and_finds_those_behind_it():
    from protocol.stored.salvage import salvage_records

    bodies = [b"first", b"second", b"third"]
    data = packs.encode_pack_header(bytes(16), bytes(16))
    for number, body in enumerate(bodies):
        head = packs.encode_record_header(1, bytes([number]) * 32, len(body), blake3(body).digest())
        data += head + (b"rotten" if body == b"second" else body)
    found = list(salvage_records(lambda offset, length: data[offset : offset + length], len(data)))
    assert [entry.id[0] for entry in found] == [0, 2]
    assert [data[entry.offset : entry.offset + entry.length] for entry in found] == [b"first", b"third"]


def test_salvage_ends_where_no_record_can_be_told():
    from protocol.stored.salvage import salvage_records

    whole = packs.encode_pack_header(bytes(16), bytes(16))
    whole += packs.encode_record_header(1, bytes(32), 4, blake3(b"good").digest()) + b"good"
    for tail in (b"", b"\xff" * 200, packs.encode_record_header(1, bytes(32), 500, bytes(32)) + b"torn"):
        data = whole + tail
        found = list(salvage_records(lambda offset, length, data=data: data[offset : offset + length], len(data)))
        assert len(found) == 1
