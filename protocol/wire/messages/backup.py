"""Messages of a backup: begin, ask, put, flush, commit."""

from typing import Annotated

from msgspec import Meta

from protocol.wire import limits
from protocol.wire.messages.fields import (
    Bitmap,
    Count,
    Fields,
    LongId,
    LongIds,
    MaybeShortId,
    Message,
    MissingIds,
    Name,
    PolicyName,
    QuestionIds,
    Recipients,
    RecordKind,
    Seconds,
    ShortId,
    Statement,
    Time,
)


class Begin(Message, frozen=True, kw_only=True, omit_defaults=True):
    """A→G, request. Opens this machine's backup session, or takes it over.

    `job` and `policy` came later: left out when empty, so that the bytes of an older agent stay the same.
    """

    generation: Count  # the catalogue generation that the agent's cache was made under; 0: no cache
    head: LongId  # digest of the agent's last statement; zeros: none
    head_sequence: Count
    job: MaybeShortId = b""  # the job that this backup is; none: it was started by hand
    policy: PolicyName = ""  # the policy that it follows, for people


class Begun(Message, frozen=True, kw_only=True):
    """G→A, answers BEGIN."""

    session: ShortId
    fence: Count  # rises with each begin; stands in COMMIT
    generation: Count
    wanted: LongIds = b""  # ids of this machine that were damaged or lost: send them again if they still exist
    head: LongId  # the server's newest statement of this machine; zeros: none
    head_sequence: Count
    base: MaybeShortId = b""  # the newest committed, undamaged snapshot
    window: Annotated[int, Meta(ge=limits.MIN_WINDOW, le=limits.WINDOW)] = limits.WINDOW  # unacknowledged bytes


class Question(Message, frozen=True, kw_only=True):
    """A→G, request. Which of these chunk or block ids does the vault lack?"""

    ids: QuestionIds


class Answer(Message, frozen=True, kw_only=True):
    """G→A, answers QUESTION. Bit i (byte i//8, least significant first) is 1 when id i is missing; spare bits are 0."""

    missing: Bitmap


class Put(Message, frozen=True, kw_only=True):
    """A→G, notice; payload: the sealed chunk or reference block. The n-th PUT of a connection has ordinal n."""

    kind: RecordKind
    id: LongId
    digest: LongId  # BLAKE3 of the payload


class Stored(Message, frozen=True, kw_only=True):
    """G→A, notice. Every PUT up to this ordinal is durable: on disk, fsynced, in the catalogue."""

    through: Annotated[int, Meta(ge=1, le=limits.MAX_ORDINAL)]


class Flush(Message, frozen=True, kw_only=True):
    """A→G, request. Make every PUT before this one durable now."""


class Flushed(Message, frozen=True, kw_only=True):
    """G→A, answers FLUSH, after the STORED that covers every PUT before it."""


class Statistics(Fields, frozen=True, kw_only=True):
    """What the agent counted; shown to people, decided upon by nobody."""

    files_new: Count = 0
    files_changed: Count = 0
    files_unmodified: Count = 0
    files: Count = 0
    directories: Count = 0
    bytes: Count = 0
    bytes_read: Count = 0
    bytes_sent: Count = 0
    chunks_sent: Count = 0
    errors: Count = 0
    duration_s: Seconds = 0.0


class Commit(Message, frozen=True, kw_only=True):
    """A→G, request; payload: the root file. May be repeated, after MISSING and after a lost answer."""

    session: ShortId
    fence: Count
    statement: Statement
    blocks: LongIds  # reference block ids in manifest order
    recipients: Recipients
    statistics: Statistics = Statistics()


class Committed(Message, frozen=True, kw_only=True):
    """G→A, answers COMMIT: the snapshot is published. Acknowledges every PUT before it."""

    snapshot: ShortId
    state: Name
    received_at: Time


class Missing(Message, frozen=True, kw_only=True):
    """G→A, answers COMMIT: these ids (the first of very many) are not there. Send them and commit again."""

    ids: MissingIds
