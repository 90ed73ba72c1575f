"""Numbers that are not listed: what of the server's reasons an agent believes, and that the rest counts as hidden."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.engine import absences
from agents.engine.absence_words import sentence
from agents.engine.absences import Kind
from agents.engine.reading import SnapshotReader
from agents.errors import Damage, ExitCode, NotFound
from agents.keys.statement import ChainBreak, ChainFault, Head
from protocol.stored.lifecycle import LifecycleEvent, LifecycleRecord
from protocol.stored.statements import Statement
from protocol.wire.messages import Fate
from tests.restore.forge import Made, Shelf, file, trust

DAY = 86_400_000_000
NOON = 1_700_049_600_000_000  # 2023-11-15 12:00 UTC: the same day nearly everywhere
BECAUSE = "Nothing keeps it: the last 7."


def records(snapshot: bytes, *events: LifecycleEvent, time: int = NOON, by: str = "retention") -> list[bytes]:
    """A chain of lifecycle records: received, and then these."""
    chain = [LifecycleRecord(snapshot, LifecycleEvent.RECEIVED, time - DAY)]
    for event in events:
        detail = {"because": BECAUSE, "by": by} if event is LifecycleEvent.EXPIRED else {}
        chain.append(LifecycleRecord(snapshot, event, time, chain[-1].digest, detail))
    return [one.encode() for one in chain]


def expired(made: Made, **changes) -> Fate:
    return Fate(statement=made.statement.encode(), records=records(made.id, LifecycleEvent.EXPIRED, **changes))


def listing(shelf: Shelf, **changes) -> SnapshotReader:
    reader = SnapshotReader(shelf, trust(**changes))
    list(reader.listed())
    return reader


def kinds(reader: SnapshotReader) -> dict[int, Kind]:
    return {number: one.kind for one in reader.absences() for number in range(one.first, one.last + 1)}


@pytest.fixture
def shelf() -> Shelf:
    """Six honest snapshots, of which numbers 2 to 4 are not listed."""
    made = Shelf()
    for number in range(6):
        made.snapshot([file(b"/f", b"%d" % number)])
    return made


@pytest.fixture
def gone(shelf: Shelf) -> list[Made]:
    taken = shelf.made[1:4]
    del shelf.made[1:4]
    shelf.told = []
    return taken


def test_expired_snapshots_are_told_with_date_and_rule(shelf: Shelf, gone: list[Made]):
    shelf.told = [expired(one, time=NOON + index * 2 * DAY) for index, one in enumerate(gone)]
    (absence,) = listing(shelf).absences()
    assert (absence.first, absence.last, absence.kind) == (2, 4, Kind.EXPIRED)
    assert sentence(absence) == (
        "Snapshots number 2 to 4 are not listed: expired from 2023-11-15 to 2023-11-19 by rule"
        f" (as the server records; unsigned). {BECAUSE}"
    )


def test_person_who_let_one_expire_is_named_and_keeps_to_one_line(shelf: Shelf, gone: list[Made]):
    shelf.told = [expired(one, by="ada\n\x1b[2J") for one in gone]
    (absence,) = listing(shelf).absences()
    assert "on 2023-11-15 by ada\\n\\x1b[2J (as the server" in sentence(absence)


def test_number_without_a_reason_is_hidden(shelf: Shelf, gone: list[Made]):
    shelf.told = [expired(gone[0]), expired(gone[2])]
    reader = listing(shelf)
    assert kinds(reader) == {2: Kind.EXPIRED, 3: Kind.HIDDEN, 4: Kind.EXPIRED}
    hidden = next(one for one in reader.absences() if one.kind is Kind.HIDDEN)
    assert sentence(hidden) == "Snapshot number 3 is not listed: hidden: the server gives no reason."


def test_old_server_is_not_accused(shelf: Shelf, gone: list[Made]):
    shelf.told = None
    (absence,) = listing(shelf).absences()
    assert sentence(absence) == "Snapshots number 2 to 4 are not listed: expired, or hidden by the server."


def test_complete_list_asks_nothing(shelf: Shelf):
    assert listing(shelf).absences() == []
    assert shelf.asked == []


def test_first_numbers_of_a_chain_are_explained_too(shelf: Shelf):
    taken = shelf.made[:2]
    del shelf.made[:2]
    shelf.told = [expired(one) for one in taken]
    assert kinds(listing(shelf)) == {1: Kind.EXPIRED, 2: Kind.EXPIRED}


def by_another_key(made: Made, fate: Fate) -> Fate:
    from tests.restore.forge import key

    unsigned = replace(made.statement, time=made.statement.time + 1)
    forged = unsigned.with_signature(key("stranger").sign(unsigned.signed_bytes()))
    return Fate(statement=forged.encode(), records=records(forged.snapshot_id, LifecycleEvent.EXPIRED))


def never_expired(made: Made, fate: Fate) -> Fate:
    return Fate(statement=fate.statement, records=records(made.id))


def brought_back(made: Made, fate: Fate) -> Fate:
    events = (LifecycleEvent.EXPIRED, LifecycleEvent.UNDELETED)
    return Fate(statement=fate.statement, records=records(made.id, *events))


def of_another_snapshot(made: Made, fate: Fate) -> Fate:
    return Fate(statement=fate.statement, records=records(b"x" * 16, LifecycleEvent.EXPIRED))


def out_of_their_chain(made: Made, fate: Fate) -> Fate:
    alone = LifecycleRecord(made.id, LifecycleEvent.EXPIRED, NOON, bytes(32)).encode()
    return Fate(statement=fate.statement, records=[fate.records[0], alone])


def behind_another_withheld_one(made: Made, fate: Fate) -> Fate:
    return Fate(statement=fate.statement, records=[b"d" * 32, fate.records[1]])


def damaged(made: Made, fate: Fate) -> Fate:
    return Fate(statement=fate.statement, records=[fate.records[0], fate.records[1][:-1]])


def without_records(made: Made, fate: Fate) -> Fate:
    return Fate(statement=fate.statement)


LIES: list[Callable[[Made, Fate], Fate]] = [
    by_another_key, never_expired, brought_back, of_another_snapshot, out_of_their_chain, behind_another_withheld_one,
    damaged, without_records,
]  # fmt: skip


@pytest.mark.defence
@pytest.mark.parametrize("lie", LIES)
def test_reason_that_does_not_hold_leaves_the_number_hidden(shelf: Shelf, gone: list[Made], lie):
    shelf.told = [expired(gone[0]), lie(gone[1], expired(gone[1])), expired(gone[2])]
    reader = listing(shelf)
    assert kinds(reader) == {2: Kind.EXPIRED, 3: Kind.HIDDEN, 4: Kind.EXPIRED}
    hidden = next(one for one in reader.absences() if one.kind is Kind.HIDDEN)
    assert hidden.fault
    assert "what the server says of it does not hold" in sentence(hidden)


@pytest.mark.defence
def test_statement_that_the_machine_signed_and_did_not_use_explains_nothing(shelf: Shelf, gone: list[Made]):
    """A commit that was refused late leaves a signed statement of the same number: it is not what is missing."""
    from tests.restore.forge import key

    other = replace(gone[2].statement, time=gone[2].statement.time + 1)
    other = other.with_signature(key("identity").sign(other.signed_bytes()))
    swapped = Fate(statement=other.encode(), records=records(other.snapshot_id, LifecycleEvent.EXPIRED))
    shelf.told = [expired(gone[0]), expired(gone[1]), swapped]
    assert kinds(listing(shelf))[4] is Kind.HIDDEN


@pytest.mark.defence
def test_statement_before_the_gap_is_named_by_the_first_in_it(shelf: Shelf, gone: list[Made]):
    from tests.restore.forge import key

    other = replace(gone[0].statement, previous=b"p" * 32)
    other = other.with_signature(key("identity").sign(other.signed_bytes()))
    shelf.told = [Fate(statement=other.encode(), records=records(other.snapshot_id, LifecycleEvent.EXPIRED))]
    assert kinds(listing(shelf)) == dict.fromkeys((2, 3, 4), Kind.HIDDEN)


@pytest.mark.defence
def test_statement_without_known_neighbours_still_needs_the_machines_signature(shelf: Shelf, gone: list[Made]):
    shelf.told = [by_another_key(gone[1], expired(gone[1]))]
    assert kinds(listing(shelf)) == dict.fromkeys((2, 3, 4), Kind.HIDDEN)


def test_two_statements_of_one_number_explain_nothing(shelf: Shelf, gone: list[Made]):
    shelf.told = [expired(one) for one in gone] + [expired(gone[1])]
    assert kinds(listing(shelf))[3] is Kind.HIDDEN


def test_withheld_record_keeps_the_chain(shelf: Shelf, gone: list[Made]):
    """What the server does not tell a machine (a legal hold) is given as its digest."""
    chain = records(gone[0].id, LifecycleEvent.HOLD_SET, LifecycleEvent.HOLD_RELEASED, LifecycleEvent.EXPIRED)
    withheld = [chain[0], blake3(chain[1]).digest(), blake3(chain[2]).digest(), chain[3]]
    shelf.told = [Fate(statement=gone[0].statement.encode(), records=withheld)]
    assert kinds(listing(shelf))[2] is Kind.EXPIRED


def test_what_was_not_asked_about_is_not_heard(shelf: Shelf, gone: list[Made]):
    """A listed snapshot is not made to look expired, whatever else the server sends along."""
    shelf.told = [expired(one) for one in [*gone, *shelf.made]]
    assert kinds(listing(shelf)) == dict.fromkeys((2, 3, 4), Kind.EXPIRED)


def test_only_the_newest_numbers_are_asked_about(shelf: Shelf, gone: list[Made], monkeypatch):
    monkeypatch.setattr(absences, "MOST_ASKED", 2)
    shelf.told = [expired(one) for one in gone]
    assert kinds(listing(shelf)) == {4: Kind.EXPIRED, 3: Kind.EXPIRED, 2: Kind.UNTOLD}
    assert shelf.asked == [(3, 4)]


@pytest.mark.defence
def test_no_reason_makes_up_for_the_newest_snapshot(shelf: Shelf):
    newest = shelf.made.pop()
    shelf.told = [expired(newest)]
    with pytest.raises(ChainFault) as caught:
        listing(shelf, head=Head(newest.statement.sequence, newest.statement.digest))
    assert caught.value.kind is ChainBreak.SHORTENED


def test_name_of_an_expired_snapshot_says_so(shelf: Shelf, gone: list[Made]):
    shelf.told = [expired(one) for one in gone]
    with pytest.raises(NotFound, match="expired on 2023-11-15 by rule") as caught:
        SnapshotReader(shelf, trust()).find(gone[1].id.hex()[:8])
    assert "bring it back" in caught.value.advice


def test_name_of_a_hidden_snapshot_that_the_chain_names_is_damage(shelf: Shelf, gone: list[Made]):
    with pytest.raises(Damage, match="hidden: the server gives no reason") as caught:
        SnapshotReader(shelf, trust()).find(gone[2].id.hex()[:8])
    assert caught.value.exit_code is ExitCode.DAMAGE


def test_name_that_nobody_knows_mentions_what_is_hidden(shelf: Shelf, gone: list[Made]):
    with pytest.raises(NotFound, match=r"no snapshot 'ffffffff'\. Snapshots number 2 to 4 are not listed: hidden"):
        SnapshotReader(shelf, trust()).find("ffffffff")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["listed", "expired", "hidden", *LIES]), min_size=7, max_size=7))
def test_expired_is_told_of_exactly_the_numbers_whose_reason_holds(history: list[str | Callable[[Made, Fate], Fate]]):
    shelf = Shelf()
    made = CHAIN.made
    history = [*history, "listed"]
    shelf.made = [one for one, fate in zip(made, history, strict=True) if fate == "listed"]
    shelf.told = []
    for one, fate in zip(made, history, strict=True):
        if fate == "expired":
            shelf.told.append(expired(one))
        elif callable(fate):
            shelf.told.append(fate(one, expired(one)))
    told = {"expired": Kind.EXPIRED}
    wanted = {
        one.statement.sequence: told.get(str(fate), Kind.HIDDEN)
        for one, fate in zip(made, history, strict=True)
        if fate != "listed"
    }
    assert kinds(listing(shelf)) == wanted


def _chain() -> Shelf:
    shelf = Shelf()
    for number in range(8):
        shelf.snapshot([file(b"/f", b"%d" % number)])
    return shelf


CHAIN = _chain()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_bytes_from_the_server_end_in_a_traceback(data: st.DataObject):
    shelf = Shelf()
    shelf.made = [CHAIN.made[0], CHAIN.made[-1]]
    middle = CHAIN.made[3]
    honest = expired(middle)
    spoilt = data.draw(st.sampled_from([honest.statement, *honest.records]))
    place, value = data.draw(st.integers(0, len(spoilt) - 1)), data.draw(st.integers(1, 255))
    changed = spoilt[:place] + bytes([spoilt[place] ^ value]) + spoilt[place + 1 :]
    statement = changed if spoilt is honest.statement else honest.statement
    shelf.told = [Fate(statement=statement, records=[changed if one is spoilt else one for one in honest.records])]
    reader = listing(shelf)
    found = kinds(reader)
    assert set(found) == set(range(2, 8))
    assert found[4] is Kind.HIDDEN or spoilt is honest.records[-1]
    assert all(sentence(one).isprintable() for one in reader.absences())
    assert isinstance(middle.statement, Statement)
