"""Hypothesis strategies that make every stored object."""

from __future__ import annotations

import msgspec
from hypothesis import strategies as st

from protocol.stored.enrollment_blobs import EnrollmentSecret
from protocol.stored.lifecycle import LifecycleEvent, LifecycleRecord
from protocol.stored.machine_records import MachineRecord
from protocol.stored.manifests import ChunkRef, Entry, Extent, Segment
from protocol.stored.packs import IndexEntry
from protocol.stored.recipients import RecipientKind, RecipientRecord
from protocol.stored.references import ReferenceList
from protocol.stored.roots import RootBody, RootHeader, SegmentRef
from protocol.stored.statements import Statement
from protocol.stored.vault_records import Recipient, VaultRecordBody
from protocol.stored.wrapped_secrets import WrappedSecret

id16 = st.binary(min_size=16, max_size=16)
digest = st.binary(min_size=32, max_size=32)
u32 = st.integers(0, 2**32 - 1)
u63 = st.integers(0, 2**63 - 1)
path = st.binary(max_size=40).map(lambda tail: b"/" + tail)

statements = st.builds(
    Statement,
    vault_id=id16,
    epoch=u32,
    machine_id=id16,
    sequence=st.integers(1, 2**63),
    time=u63,
    previous=digest,
    root_hash=digest,
    blocks_hash=digest,
    signature=st.binary(max_size=512),
)
recipient_records = st.builds(
    RecipientRecord, st.sampled_from(RecipientKind), digest, digest, st.binary(max_size=600), st.just(1)
)
machine_records = st.builds(
    MachineRecord,
    id16,
    id16,
    u32,
    st.booleans(),
    st.binary(max_size=550),
    st.binary(max_size=550),
    digest,
    st.binary(max_size=512),
)
wrapped_secrets = st.builds(WrappedSecret, id16, u32, digest, st.binary(max_size=512), st.just(1))
lifecycle_records = st.builds(
    LifecycleRecord,
    id16,
    st.sampled_from(LifecycleEvent),
    u63,
    digest,
    st.dictionaries(st.text(max_size=10), st.text(max_size=20), max_size=3),
)
reference_lists = st.builds(
    ReferenceList,
    id16,
    st.lists(digest, max_size=5).map(b"".join),
    st.dictionaries(st.text(max_size=10), st.integers(0, 2**63 - 1), max_size=3),
)
vault_bodies = st.builds(
    VaultRecordBody,
    number=st.integers(1, 2**63 - 1),
    vault_id=id16,
    epoch=st.integers(1, 2**32 - 1),
    opening_key=st.binary(min_size=1, max_size=600),
    signing_key=st.binary(min_size=1, max_size=600),
    recipients=st.lists(
        st.builds(Recipient, st.text(max_size=10), st.integers(0, 9), st.binary(min_size=1, max_size=99)), max_size=3
    ),
    created_at=u63,
    secret_commitment=st.just(msgspec.UNSET) | digest,
)
root_headers = st.builds(RootHeader, id16, id16, u32, id16, u63, digest)
segment_refs = st.builds(SegmentRef, path, path, digest, digest, digest, u63, u63)
root_bodies = st.builds(
    RootBody,
    machine_name=st.text(max_size=20),
    sources=st.lists(path, max_size=3),
    started_at=u63,
    finished_at=u63,
    secrets=st.dictionaries(st.integers(1, 2**32 - 1), digest, max_size=2),
    segments=st.lists(segment_refs, max_size=4),
    files=u63,
    tags=st.lists(st.text(max_size=5), max_size=2),
)
enrollment_secrets = st.builds(
    EnrollmentSecret,
    epoch=u32,
    dedup_secret=digest,
    signing_key_hash=digest,
    vault_record_number=u63,
    write_only=st.booleans(),
)
index_entries = st.builds(IndexEntry, st.sampled_from([1, 2]), digest, u63, st.integers(1, 2**20), digest)


@st.composite
def segments(draw: st.DrawFn) -> Segment:
    """Segments whose extents point into their own table."""
    chunks = draw(st.lists(st.builds(ChunkRef, digest, digest), max_size=4))
    extents = st.lists(
        st.builds(Extent, st.integers(0, max(len(chunks) - 1, 0)), st.integers(0, 2**20), st.integers(1, 2**20)),
        max_size=3 if chunks else 0,
    )
    entry = st.builds(
        Entry,
        path=path,
        type=st.integers(1, 7),
        mode=st.integers(0, 0o7777),
        uid=u32,
        gid=u32,
        user=st.text(max_size=8),
        group=st.text(max_size=8),
        size=u63,
        mtime_ns=st.integers(-(2**62), 2**62),
        extents=extents,
        digest=st.one_of(st.just(b""), digest),
        link=st.binary(max_size=20),
        device=u63,
        hardlink=u63,
        xattrs=st.lists(st.tuples(st.binary(max_size=9), st.binary(max_size=9)), max_size=2),
        sparse=st.lists(st.tuples(u63, u63), max_size=2),
        part=st.integers(0, 9),
        last=st.booleans(),
    )
    return Segment(chunks, draw(st.lists(entry, max_size=4)))
