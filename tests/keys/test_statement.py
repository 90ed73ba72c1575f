"""Statements and their chain: honest ones pass, and every dishonest change has a name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.errors import ExitCode
from agents.keys.rsa import load_public
from agents.keys.statement import (
    ChainBreak,
    ChainFault,
    Head,
    check_chain,
    expired_snapshots,
    sign_statement,
    verify_statement,
)
from protocol.stored.errors import FormatError
from protocol.stored.lifecycle import LifecycleEvent, LifecycleRecord
from protocol.stored.statements import NO_PREVIOUS, Statement, decode_statement
from tests.keys.material import private_key

VECTORS = Path(__file__).parents[1] / "vectors" / "keys"
VAULT, MACHINE = b"v" * 16, b"m" * 16
IDS = {"vault_id": VAULT, "machine_id": MACHINE}


def statement(sequence: int, previous: bytes, key: str = "identity", **changes: object) -> Statement:
    values = {"epoch": 1, "time": sequence * 10, "root_hash": bytes([sequence]) * 32, "blocks_hash": b"b" * 32} | IDS
    return sign_statement(private_key(key), sequence=sequence, previous=previous, **(values | changes))


def chain_of(length: int, **changes: object) -> list[Statement]:
    made: list[Statement] = []
    for sequence in range(1, length + 1):
        made.append(statement(sequence, made[-1].digest if made else NO_PREVIOUS, **changes))
    return made


CHAIN = chain_of(6)
HEAD = Head(6, CHAIN[-1].digest)


def examine(statements: list[Statement], **options: object) -> None:
    check_chain(statements, private_key("identity").public, **IDS, **options)


def broken(statements: list[Statement], kind: ChainBreak, sequence: int | None = None, **options: object) -> None:
    with pytest.raises(ChainFault) as caught:
        examine(statements, **options)
    assert caught.value.kind is kind
    assert caught.value.exit_code == ExitCode.DAMAGE
    if sequence is not None:
        assert caught.value.sequence == sequence


def test_an_honest_chain_passes() -> None:
    examine(CHAIN, head=HEAD)
    examine([])
    examine(CHAIN[2:], whole=False, head=HEAD)


def test_a_statement_survives_its_encoding() -> None:
    decoded = decode_statement(CHAIN[3].encode())
    verify_statement(decoded, private_key("identity").public, **IDS)
    assert decoded.snapshot_id == blake3(CHAIN[3].encode()).digest()[:16]


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_a_statement_with_any_byte_changed_is_refused(position: int, flip: int) -> None:
    damaged = bytearray(CHAIN[0].encode())
    damaged[position % len(damaged)] ^= flip
    with pytest.raises((ChainFault, FormatError)):
        verify_statement(decode_statement(bytes(damaged)), private_key("identity").public, **IDS)


def test_a_forged_statement_is_named() -> None:
    for forged in (statement(4, CHAIN[2].digest, key="evil"), replace(CHAIN[3], time=1), replace(CHAIN[3], epoch=2)):
        broken([*CHAIN[:3], forged, *CHAIN[4:]], ChainBreak.FORGED, 4)


def test_another_machines_or_vaults_statement_is_named() -> None:
    for stranger in (
        statement(4, CHAIN[2].digest, machine_id=b"n" * 16),
        statement(4, CHAIN[2].digest, vault_id=b"w" * 16),
    ):
        broken([*CHAIN[:3], stranger], ChainBreak.FOREIGN, 4)


def test_a_shortened_chain_is_named_by_whoever_remembers_its_head() -> None:
    broken(CHAIN[:4], ChainBreak.SHORTENED, 5, head=HEAD)
    broken([], ChainBreak.SHORTENED, 1, head=HEAD)
    examine(CHAIN[:4])  # nobody remembers: this is what the threat model says about a fresh reader


def test_a_gap_without_lifecycle_records_is_named() -> None:
    broken([*CHAIN[:2], *CHAIN[3:]], ChainBreak.GAP, 3)
    broken(CHAIN[1:], ChainBreak.GAP, 1)


def test_a_gap_that_lifecycle_records_explain_passes() -> None:
    gone = {CHAIN[2].snapshot_id, CHAIN[3].snapshot_id}
    examine([*CHAIN[:2], *CHAIN[4:]], expired=gone, head=HEAD)
    examine(CHAIN[2:], expired={CHAIN[0].snapshot_id, CHAIN[1].snapshot_id})
    examine(CHAIN[:5], expired={CHAIN[5].snapshot_id}, head=HEAD)


def test_records_of_other_snapshots_explain_no_gap() -> None:
    broken([*CHAIN[:2], *CHAIN[4:]], ChainBreak.GAP, 3, expired={CHAIN[3].snapshot_id})
    broken([*CHAIN[:2], *CHAIN[4:]], ChainBreak.GAP, 3, expired={CHAIN[2].snapshot_id, b"x" * 16})
    broken([*CHAIN[:2], *CHAIN[4:]], ChainBreak.GAP, 3, expired={CHAIN[3].snapshot_id, CHAIN[0].snapshot_id})


def test_a_reordered_or_repeated_statement_is_named() -> None:
    broken([CHAIN[0], CHAIN[2], CHAIN[1]], ChainBreak.REORDERED, expired={CHAIN[1].snapshot_id, b"x" * 16})
    broken([CHAIN[0], CHAIN[1], CHAIN[1]], ChainBreak.REORDERED, 2)
    broken(list(reversed(CHAIN)), ChainBreak.REORDERED, whole=False)


def test_a_chain_that_goes_back_to_an_older_epoch_is_named() -> None:
    first = statement(1, NO_PREVIOUS, epoch=2)
    broken([first, statement(2, first.digest, epoch=1)], ChainBreak.REORDERED, 2)


def test_two_histories_of_one_machine_are_named() -> None:
    """From a clone or a disk set back: each statement is signed by the machine, together they are no chain."""
    other = chain_of(6, time=99)
    broken([*CHAIN[:3], *other[3:]], ChainBreak.FORKED, 4)
    broken(other, ChainBreak.FORKED, 6, head=HEAD)
    broken([first_with_a_past()], ChainBreak.FORKED, 1)


def first_with_a_past() -> Statement:
    """Return a first statement that names a previous one, signed by the machine itself."""
    odd = Statement(VAULT, 1, MACHINE, 1, 5, b"p" * 32, b"r" * 32, b"b" * 32)
    return odd.with_signature(private_key("identity").sign(odd.signed_bytes()))


@settings(max_examples=100, deadline=None)
@given(keep=st.sets(st.integers(0, 5)), gone=st.sets(st.integers(0, 5)))
def test_exactly_what_has_expired_may_be_missing(keep: set[int], gone: set[int]) -> None:
    """With the head known, a reader accepts a chain exactly when every statement is shown or has expired."""
    shown = [CHAIN[index] for index in sorted(keep)]
    expired = {CHAIN[index].snapshot_id for index in gone}
    try:
        examine(shown, expired=expired, head=HEAD)
        accepted = True
    except ChainFault:
        accepted = False
    assert accepted == (keep | gone == set(range(6)))


def test_expiry_that_was_undone_explains_nothing() -> None:
    def event(kind: LifecycleEvent, snapshot: int) -> LifecycleRecord:
        return LifecycleRecord(CHAIN[snapshot].snapshot_id, kind, 1)

    received, expired, undeleted = LifecycleEvent.RECEIVED, LifecycleEvent.EXPIRED, LifecycleEvent.UNDELETED
    records = [event(received, 0), event(expired, 0), event(expired, 1), event(undeleted, 1)]
    assert expired_snapshots(records) == {CHAIN[0].snapshot_id}


@pytest.mark.parametrize(("sequence", "previous"), [(0, NO_PREVIOUS), (1, b"p" * 32), (2, NO_PREVIOUS)])
def test_a_statement_that_begins_no_chain_is_never_signed(sequence: int, previous: bytes) -> None:
    with pytest.raises(ValueError, match="first statement"):
        statement(sequence, previous)


def test_the_frozen_statement_verifies() -> None:
    frozen = json.loads((VECTORS / "statement.json").read_text())
    decoded = decode_statement(bytes.fromhex(frozen["statement"]))
    assert decoded.signed_bytes().hex() == frozen["signed_bytes"]
    assert decoded.digest.hex() == frozen["digest"]
    assert decoded.snapshot_id.hex() == frozen["snapshot_id"]
    key = load_public(bytes.fromhex(frozen["identity_key"]))
    verify_statement(decoded, key, vault_id=decoded.vault_id, machine_id=decoded.machine_id)
