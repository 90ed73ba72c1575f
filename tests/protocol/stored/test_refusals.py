"""Decoders meet bytes that nobody wrote: only FormatError comes out, and soon."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.stored import chunks, machine_records, manifests, recipients, roots, statements
from protocol.stored.blocks import decode_block, encode_block
from protocol.stored.enrollment_blobs import decode_enrollment_blob, decode_enrollment_secret
from protocol.stored.errors import FormatError
from protocol.stored.lifecycle import decode_lifecycle
from protocol.stored.packs import decode_pack_header, decode_record_header, decode_trailer
from protocol.stored.prefix import ObjectType, check_prefix, pack_prefix
from protocol.stored.references import decode_references
from protocol.stored.vault_records import SignedVaultRecord, decode_vault_record, encode_vault_body
from protocol.stored.wrapped_secrets import decode_wrapped_secret
from tests.protocol.stored import strategies as made

DECODERS = {
    "statement": (statements.decode_statement, made.statements.map(lambda o: o.encode())),
    "recipient": (recipients.decode_recipient, made.recipient_records.map(lambda o: o.encode())),
    "recipients": (
        recipients.split_recipients,
        st.lists(st.binary(max_size=20), max_size=4).map(recipients.join_recipients),
    ),
    "machine record": (machine_records.decode_machine_record, made.machine_records.map(lambda o: o.encode())),
    "wrapped secret": (decode_wrapped_secret, made.wrapped_secrets.map(lambda o: o.encode())),
    "reference list": (decode_references, made.reference_lists.map(lambda o: o.encode())),
    "lifecycle": (decode_lifecycle, made.lifecycle_records.map(lambda o: o.encode())),
    "vault record": (
        decode_vault_record,
        made.vault_bodies.map(lambda b: SignedVaultRecord(b, encode_vault_body(b), b"s" * 9).encode()),
    ),
    "root": (roots.decode_root, made.root_headers.map(lambda h: roots.encode_root_header(h) + bytes(40))),
    "root body": (roots.decode_root_body, made.root_bodies.map(roots.encode_root_body)),
    "segment": (manifests.decode_segment, made.segments().map(manifests.encode_segment)),
    "block": (decode_block, st.sets(made.digest, max_size=5).map(encode_block)),
    "enrolment blob": (decode_enrollment_blob, st.just(pack_prefix(ObjectType.ENROLLMENT_BLOB) + bytes(60))),
    "enrolment secret": (decode_enrollment_secret, st.binary(max_size=80)),
    "sealed chunk": (chunks.split_sealed, st.just(b"\x01\x01" + bytes(60))),
    "pack header": (decode_pack_header, st.just(pack_prefix(ObjectType.PACK) + bytes(32))),
    "record header": (decode_record_header, st.just(b"\x01" + bytes(68))),
    "trailer": (decode_trailer, st.just(bytes(48) + b"STRMPACK")),
}


@st.composite
def mutated(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """An encoded object with bytes changed, cut out or put in."""
    data = bytearray(draw(whole))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        match draw(st.sampled_from(["flip", "cut", "insert", "drop"])):
            case "flip" if data:
                data[at] = draw(st.integers(0, 255))
            case "cut":
                del data[at:]
            case "insert":
                data[at:at] = draw(st.binary(max_size=9))
            case "drop":
                del data[at : at + 3]
    return bytes(data)


@pytest.mark.parametrize("name", DECODERS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_only_format_errors_come_out_of(name, data):
    decode, whole = DECODERS[name]
    candidate = data.draw(st.one_of(mutated(whole), st.binary(max_size=120)))
    with contextlib.suppress(FormatError):
        decode(candidate)


@pytest.mark.parametrize("name", [n for n in DECODERS if n not in ("enrolment secret", "root body", "recipients")])
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_an_object_of_another_magic_version_or_algorithm_is_refused(name, data):
    decode, whole = DECODERS[name]
    good = data.draw(whole)
    if not good.startswith(b"STRM"):
        return
    for position, value in ((0, 0x00), (4, 0xFF), (5, 2), (6, 9), (7, 1)):
        bad = bytearray(good)
        bad[position] = value
        with pytest.raises(FormatError):
            decode(bytes(bad))


@pytest.mark.parametrize("kind", list(ObjectType))
def test_a_short_prefix_is_refused(kind):
    for length in range(8):
        with pytest.raises(FormatError, match="ends before"):
            check_prefix(pack_prefix(kind)[:length], kind)


FIXED = ("statement", "recipient", "machine record", "wrapped secret", "lifecycle", "vault record", "recipients")


@pytest.mark.parametrize("name", FIXED)
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_a_fixed_object_refuses_bytes_that_follow_it(name, data):
    decode, whole = DECODERS[name]
    with pytest.raises(FormatError, match="followed"):
        decode(data.draw(whole) + b"\0")


def test_a_reference_block_out_of_order_or_doubled_is_refused():
    good = encode_block([b"a" * 32, b"b" * 32])
    swapped = good[:12] + good[44:] + good[12:44]
    doubled = good[:44] + good[12:44]
    for bad in (swapped, doubled):
        with pytest.raises(FormatError, match="ascending"):
            decode_block(bad)


def test_extents_outside_of_the_table_or_of_any_chunk_are_refused():
    table = [manifests.ChunkRef(bytes(32), bytes(32))]
    for extent in ((1, 0, 1), (-1, 0, 1), (0, -1, 5), (0, 0, 0), (0, 4 << 20, 1)):
        entry = manifests.Entry(b"/a", 1, 0, 0, 0, extents=[manifests.Extent(*extent)])
        with pytest.raises(FormatError):
            manifests.decode_segment(manifests.encode_segment(manifests.Segment(table, [entry])))


def test_a_body_that_claims_two_billion_elements_costs_nothing():
    import tracemalloc

    prefix = pack_prefix(ObjectType.MANIFEST_SEGMENT)
    tracemalloc.start()
    with pytest.raises(FormatError):
        manifests.decode_segment(prefix + b"\x92\xdd\x7f\xff\xff\xff")
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
