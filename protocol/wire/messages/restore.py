"""Messages of a restore, and the question after the state of the work."""

from typing import Annotated

from msgspec import Meta

from protocol.wire import limits
from protocol.wire.messages.fields import (
    Count,
    Counts,
    FetchIds,
    Fields,
    Label,
    LifecycleRecord,
    LongId,
    LongIds,
    MachineRecord,
    MaybeMachineRecord,
    Message,
    Name,
    Recipients,
    RecordKind,
    Seconds,
    Sequence,
    ShortId,
    Signature,
    Statement,
    StatusIds,
    Text,
    ThawBlocks,
    Time,
)


class List(Message, frozen=True, kw_only=True):
    """A→G, request. A page of snapshots, newest first. An empty name is the caller's own machine."""

    machine_name: Name = ""
    before: Time = 0  # only snapshots received before this; 0: from the newest
    limit: Annotated[int, Meta(ge=1, le=limits.MAX_SNAPSHOT_ITEMS)] = limits.MAX_SNAPSHOT_ITEMS


class SnapshotItem(Fields, frozen=True, kw_only=True):
    """One snapshot of a list. Only `statement` is proof of anything; the rest is what the server says."""

    id: ShortId
    machine_id: ShortId
    machine_name: Name
    sequence: Count
    state: Name
    received_at: Time
    machine_time: Time
    statement: Statement
    files: Count = 0
    bytes: Count = 0
    bytes_sent: Count = 0
    errors: Count = 0


class Snapshots(Message, frozen=True, kw_only=True):
    """G→A, answers LIST."""

    items: Annotated[list[SnapshotItem], Meta(max_length=limits.MAX_SNAPSHOT_ITEMS)]
    # of the machines in `items`
    machine_records: Annotated[list[MachineRecord], Meta(max_length=limits.MAX_SNAPSHOT_ITEMS)] = []
    more: bool = False


class Prove(Message, frozen=True, kw_only=True):
    """A→G, request. The proof of the kit that opens another machine's snapshots to this connection."""

    scope_name: Name  # the machine's name; BLAKE3(name)[:16] is what is signed
    signature: Signature  # by the vault's signing key, over context, nonce, certificate hash, caller and scope


class Proved(Message, frozen=True, kw_only=True):
    """G→A, answers PROVE."""

    machine_id: ShortId


class Root(Message, frozen=True, kw_only=True):
    """A→G, request. The root of a snapshot."""

    snapshot: ShortId
    machine_name: Name = ""


class RootIs(Message, frozen=True, kw_only=True):
    """G→A, answers ROOT; payload: the root file."""

    statement: Statement
    recipients: Recipients
    machine_record: MaybeMachineRecord
    blocks: LongIds


class Fetch(Message, frozen=True, kw_only=True):
    """A→G, request. Records of one reference block of a snapshot; no ids: the block itself."""

    snapshot: ShortId
    block: LongId
    ids: FetchIds = b""


class Record(Message, frozen=True, kw_only=True):
    """G→A, part of the answer to FETCH; payload: the sealed bytes. At most one per id asked for, in any order."""

    kind: RecordKind
    id: LongId
    digest: LongId  # BLAKE3 of the payload


class Fetched(Message, frozen=True, kw_only=True):
    """G→A, ends the answer to FETCH. `missing`: ids that could not be read; each is a damage."""

    missing: FetchIds = b""


class Explain(Message, frozen=True, kw_only=True):
    """A→G, request. What became of the snapshots of these numbers, both ends included, that LIST does not show?"""

    machine_name: Name = ""
    first: Sequence
    last: Sequence


class Fate(Fields, frozen=True, kw_only=True):
    """A snapshot that is not listed any more. The statement is proof; the records are the server's word, unsigned."""

    statement: Statement
    # lifecycle records, the oldest first; of very many the newest
    records: Annotated[list[LifecycleRecord], Meta(max_length=limits.MAX_LIFECYCLE_RECORDS)] = []


class Explained(Message, frozen=True, kw_only=True):
    """G→A, answers EXPLAIN: the newest first. For a number that is left out the server has no reason to give."""

    fates: Annotated[list[Fate], Meta(max_length=limits.MAX_FATES)] = []
    rest: Count = 0  # nothing is said yet of this number and those below: ask again with it as `last`; 0: that is all


class Drilled(Message, frozen=True, kw_only=True):
    """A→G, request. How a drill ended that was begun on the machine; repeated until it is answered."""

    drill: ShortId  # random, made for this drill: a repetition is recognised by it
    snapshot: ShortId  # the machine's own
    outcome: Label  # done, warnings or failed
    message: Text = ""
    advice: Text = ""
    counts: Counts = {}


class Noted(Message, frozen=True, kw_only=True):
    """G→A, answers DRILLED: it is in the database."""

    proven: bool  # the snapshot counts as proven by it


class Thaw(Message, frozen=True, kw_only=True):
    """A→G, request. Asks cold storage for what a restore needs, and how far that is; repeated until all can be read."""

    snapshot: ShortId
    blocks: ThawBlocks = b""  # reference blocks of the snapshot, with all that they list; none: all that it needs


class Thawing(Message, frozen=True, kw_only=True):
    """G→A, answers THAW. All of it can be read when `waiting` is 0 and `more` is false."""

    asked: Count = 0  # packs that this request has asked for
    waiting: Count = 0  # packs that are on their way and cannot be read yet
    bytes: Count = 0  # what those hold
    more: bool = False  # not everything was looked at: ask again at once
    retry_after: Seconds | None = None  # not sooner than so many seconds


class Status(Message, frozen=True, kw_only=True):
    """A→G, request. How is the work behind these snapshots getting on?"""

    snapshots: StatusIds = b""


class StatusIs(Message, frozen=True, kw_only=True):
    """G→A, answers STATUS."""

    worker_alive: bool
    worker_seen: Time | None = None
    # snapshot id as 32 hex digits → its state; unknown ids are left out
    states: Annotated[dict[Name, Name], Meta(max_length=limits.MAX_STATUS_IDS)] = {}
