"""Why a number of a machine's chain is not listed: expired, as the server records it, or hidden.

A lifecycle record carries no signature of the customer, so *expired* is the server's word and is told as such. But what
goes with it can be checked, and has to hold: the snapshot's statement is the machine's own and stands at that place of
the chain, and the records are of that snapshot and name each other. Where any of it fails, the number counts as hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from blake3 import blake3

from agents.errors import Damage
from agents.keys.statement import expired_snapshots
from protocol.stored.errors import FormatError
from protocol.stored.fields import DIGEST_SIZE, ID_SIZE
from protocol.stored.lifecycle import LifecycleEvent, LifecycleRecord, decode_lifecycle
from protocol.stored.statements import NO_PREVIOUS, Statement, decode_statement

if TYPE_CHECKING:
    from agents.engine.reading import Gap
    from protocol.wire.messages import Explained, Fate

MOST_ASKED = 1000
"""Numbers that one list asks about, the newest first: each costs the server some reads and us a signature's check."""

MOST_WORDS = 300
"""Characters of a reason, or of a name, that are shown."""

Ask = Callable[[int, int], "Iterable[Explained] | None"]
Verify = Callable[[Statement], None]


class Kind(StrEnum):
    """What is known of a number that is not listed."""

    EXPIRED = "expired"
    """The server has records that say so, and all that can be checked of them holds."""
    HIDDEN = "hidden"
    """The server was asked, and gave no reason, or one that does not hold."""
    UNTOLD = "untold"
    """Nobody was asked: the server does not know the question, or there are too many numbers."""


@dataclass(frozen=True, slots=True)
class Absence:
    """Numbers `first` to `last`, of which the same is known. Times in microseconds, by the server's clock.

    `because` and `by` are the server's words. `fault` says what does not hold. `ids`: those snapshots that are
    known to have these numbers, newest first.
    """

    first: int
    last: int
    kind: Kind
    expired_from: int = 0
    expired_until: int = 0
    because: str = ""
    by: str = ""
    fault: str = ""
    ids: tuple[bytes, ...] = field(default=(), repr=False)

    def continues(self, older: Absence) -> bool:
        """Whether `older` is the number below, and the same holds of it."""
        same = (self.kind, self.because, self.by, self.fault) == (older.kind, older.because, older.by, older.fault)
        return same and older.last == self.first - 1

    def with_older(self, older: Absence) -> Absence:
        """Both as one."""
        times = [time for one in (self, older) for time in (one.expired_from, one.expired_until)]
        ids = self.ids + older.ids
        return replace(self, first=older.first, expired_from=min(times), expired_until=max(times), ids=ids)


def explain(gaps: Sequence[Gap], ask: Ask, verify: Verify) -> list[Absence]:
    """What is known of the numbers in these gaps, newest first, neighbours of whom the same is known joined.

    `ask` gives pages of what the server says of a range, None when it cannot be asked. `verify` raises Damage for a
    statement that the machine did not sign. Raises AgentError when the connection fails.
    """
    found: list[Absence] = []
    left = MOST_ASKED
    for gap in gaps:
        asked = max(gap.first, gap.last - left + 1)
        pages = ask(asked, gap.last) if left else None
        if pages is None:
            found.append(Absence(gap.first, gap.last, Kind.UNTOLD))
            continue
        left -= gap.last - asked + 1
        found += _joined(_Judge(gap, asked, pages, verify).absences())
        if asked > gap.first:
            found.append(Absence(gap.first, asked - 1, Kind.UNTOLD))
    return found


class _Untrue(Exception):
    """What the server says of a number does not hold; the text is a sentence."""


class _Judge:
    """Judges what is said of one gap, from its newest number down."""

    def __init__(self, gap: Gap, asked: int, pages: Iterable[Explained], verify: Verify) -> None:
        self._gap = gap
        self._asked = asked
        self._verify = verify
        self._said: dict[int, tuple[Statement, Absence]] = {}
        for page in pages:
            for fate in page.fates:
                self._take(fate)

    def _take(self, fate: Fate) -> None:
        """Keep what is said of a number that was asked about. The records are judged now, so that none is kept."""
        try:
            statement = decode_statement(fate.statement)
        except FormatError:
            return  # of what number it would be nobody knows: none is explained by it
        number = statement.sequence
        if not self._asked <= number <= self._gap.last:
            return
        try:
            if number in self._said:
                raise _Untrue("The server shows several statements of this number.")
            absence = _expired(statement, fate.records)
        except _Untrue as fault:
            absence = Absence(number, number, Kind.HIDDEN, fault=str(fault))
        self._said[number] = (statement, absence)

    def absences(self) -> Iterator[Absence]:
        """Yield one for each number, the newest first."""
        newer: Statement | None = self._gap.newer
        for number in range(self._gap.last, self._asked - 1, -1):
            statement, absence = self._judged(number, newer)
            if absence.kind is Kind.HIDDEN and newer is not None:
                absence = replace(absence, ids=(newer.previous[:ID_SIZE],))  # the chain says what is hidden there
            yield absence
            newer = statement

    def _judged(self, number: int, newer: Statement | None) -> tuple[Statement | None, Absence]:
        """What is known of a number, and its statement, if that is proved. `newer` is the one after it, if proved."""
        if number not in self._said:
            return None, Absence(number, number, Kind.HIDDEN)
        statement, absence = self._said[number]
        try:
            self._check_place(statement, newer)
        except _Untrue as fault:
            return None, Absence(number, number, Kind.HIDDEN, fault=str(fault))
        return statement, absence

    def _check_place(self, statement: Statement, newer: Statement | None) -> None:
        """The machine signed it, and its neighbours, as far as they are known, are those of the chain."""
        try:
            self._verify(statement)
        except Damage as fault:
            raise _Untrue(fault.what) from None
        if newer is not None and newer.previous != statement.digest:
            raise _Untrue("The server shows another statement than the one that the machine's next statement names.")
        before = self._before(statement.sequence)
        if before is not None and statement.previous != before:
            raise _Untrue("The statement that the server shows names another one before it than the machine's.")

    def _before(self, number: int) -> bytes | None:
        """The digest of the statement before, where it is known for sure."""
        if number == 1:
            return NO_PREVIOUS
        older = self._gap.older
        return older.digest if older is not None and older.sequence == number - 1 else None


def _expired(statement: Statement, said: Sequence[bytes]) -> Absence:
    """What the records of a snapshot say. Raises _Untrue unless they hold and say that it has expired."""
    records = _checked(statement.snapshot_id, said)
    if statement.snapshot_id not in expired_snapshots(records):
        raise _Untrue("The server has the snapshot's statement, and no record says that it has expired.")
    expiry = [record for record in records if record.event is LifecycleEvent.EXPIRED][-1]
    words = (expiry.detail.get("because", "")[:MOST_WORDS], expiry.detail.get("by", "")[:MOST_WORDS])
    number, ids = statement.sequence, (statement.snapshot_id,)
    return Absence(number, number, Kind.EXPIRED, expiry.time, expiry.time, *words, ids=ids)


def _checked(snapshot: bytes, said: Sequence[bytes]) -> list[LifecycleRecord]:
    """The records that are given whole; every one has to be of this snapshot, and to name the one before it.

    An item of 32 bytes stands for a record that is none of the machine's business: its digest.
    """
    records: list[LifecycleRecord] = []
    before: bytes | None = None
    for item in said:
        if len(item) == DIGEST_SIZE:
            before = item
            continue
        try:
            record = decode_lifecycle(item)
        except FormatError as fault:
            raise _Untrue(f"A lifecycle record of the snapshot is damaged: {fault.why}.") from None
        if record.snapshot_id != snapshot:
            raise _Untrue("The server shows lifecycle records of another snapshot.")
        if before is not None and record.previous != before:
            raise _Untrue("The snapshot's lifecycle records do not follow one another.")
        before = blake3(item).digest()
        records.append(record)
    return records


def _joined(absences: Iterable[Absence]) -> list[Absence]:
    found: list[Absence] = []
    for one in absences:
        if found and found[-1].continues(one):
            found[-1] = found[-1].with_older(one)
        else:
            found.append(one)
    return found
