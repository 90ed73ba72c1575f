"""Statements: signed by a machine's identity key, one per snapshot, each naming the one before it.

Whoever reads a chain learns whether the store shows all of it: a statement that is missing, altered, out of order or
made by somebody else is a fault with a name. A server may expire snapshots, but has to say so in lifecycle records.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum

from agents.errors import Damage
from agents.keys.faults import SignatureFault
from agents.keys.rsa import PrivateKey, PublicKey
from protocol.stored.lifecycle import LifecycleEvent, LifecycleRecord
from protocol.stored.statements import NO_PREVIOUS, Statement


class ChainBreak(StrEnum):
    """What is wrong with a chain."""

    FOREIGN = "foreign"
    """A statement is of another vault or machine."""
    FORGED = "forged"
    """A statement's signature is not the machine's."""
    REORDERED = "reordered"
    """Statements are out of order, repeated, or go back to an older epoch."""
    FORKED = "forked"
    """A statement names another predecessor than the one before it, or differs from what the machine remembers."""
    GAP = "gap"
    """Statements are missing, and no lifecycle record says why."""
    SHORTENED = "shortened"
    """The newest statements that the machine remembers are missing."""


class ChainFault(Damage):
    """A machine's statements do not form the chain that the machine made."""

    def __init__(self, kind: ChainBreak, sequence: int, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind
        self.sequence = sequence


@dataclass(frozen=True, slots=True)
class Head:
    """What a machine remembers of its newest statement, outside every cache."""

    sequence: int
    digest: bytes


def sign_statement(
    identity: PrivateKey,
    *,
    vault_id: bytes,
    epoch: int,
    machine_id: bytes,
    sequence: int,
    time: int,
    previous: bytes,
    root_hash: bytes,
    blocks_hash: bytes,
) -> Statement:
    """Return the signed statement (ids 16 bytes, digests 32, ``time`` in microseconds, ``sequence`` from 1)."""
    if sequence < 1 or (sequence == 1) != (previous == NO_PREVIOUS):
        raise ValueError("the first statement has sequence 1 and names no previous one, every other names one")
    statement = Statement(vault_id, epoch, machine_id, sequence, time, previous, root_hash, blocks_hash)
    return statement.with_signature(identity.sign(statement.signed_bytes()))


def verify_statement(statement: Statement, identity: PublicKey, *, vault_id: bytes, machine_id: bytes) -> None:
    """Return when the machine signed this statement; ChainFault (foreign or forged) otherwise.

    ``identity`` comes from a machine record that verified: a certificate proves nothing about a snapshot.
    """
    number = statement.sequence
    if (statement.vault_id, statement.machine_id) != (vault_id, machine_id):
        raise ChainFault(ChainBreak.FOREIGN, number, f"Statement {number} belongs to another machine or vault.")
    try:
        identity.verify(statement.signed_bytes(), statement.signature)
    except SignatureFault:
        sentence = f"Statement {number} was not signed by this machine: it was altered or forged."
        raise ChainFault(ChainBreak.FORGED, number, sentence) from None


def check_chain(
    statements: Sequence[Statement],
    identity: PublicKey,
    *,
    vault_id: bytes,
    machine_id: bytes,
    expired: AbstractSet[bytes] = frozenset(),
    head: Head | None = None,
    whole: bool = True,
) -> None:
    """Return when ``statements``, oldest first, are a chain of this machine; ChainFault with the fault named otherwise.

    ``expired``: snapshot ids that lifecycle records say were expired (`expired_snapshots`); only these explain a gap.
    ``head``: what the machine itself remembers, if it is asked. ``whole``: the chain is expected from its first
    statement on; False for the newest part of one.
    """
    chain = _Chain(statements, expired)
    for statement in statements:
        verify_statement(statement, identity, vault_id=vault_id, machine_id=machine_id)
    if statements:
        if whole:
            chain.check_start(statements[0])
        for before, after in itertools.pairwise(statements):
            chain.check_link(before, after)
    if head is not None:
        chain.check_head(head)


def expired_snapshots(records: Iterable[LifecycleRecord]) -> set[bytes]:
    """Return the ids of snapshots whose newest expiry was not undone, from their lifecycle records in order."""
    gone: set[bytes] = set()
    for record in records:
        if record.event is LifecycleEvent.EXPIRED:
            gone.add(record.snapshot_id)
        elif record.event is LifecycleEvent.UNDELETED:
            gone.discard(record.snapshot_id)
    return gone


class _Chain:
    """The checks between statements. ``spare`` counts expiries that may still explain a missing statement."""

    def __init__(self, statements: Sequence[Statement], expired: AbstractSet[bytes]) -> None:
        self.statements = statements
        self.expired = expired
        self.spare = len(expired - {statement.snapshot_id for statement in statements})

    def check_start(self, first: Statement) -> None:
        if first.sequence == 1 and first.previous != NO_PREVIOUS:
            raise ChainFault(ChainBreak.FORKED, 1, "Statement 1 names a statement before it.")
        if first.sequence > 1:
            self._explain(1, first.sequence - 1, first.previous)

    def check_link(self, before: Statement, after: Statement) -> None:
        if after.sequence <= before.sequence or after.epoch < before.epoch:
            sentence = f"Statement {after.sequence} does not come after statement {before.sequence}."
            raise ChainFault(ChainBreak.REORDERED, after.sequence, sentence)
        if after.sequence > before.sequence + 1:
            self._explain(before.sequence + 1, after.sequence - 1, after.previous)
        elif after.previous != before.digest:
            sentence = f"Statement {after.sequence} follows another statement {before.sequence} than the one shown."
            raise ChainFault(ChainBreak.FORKED, after.sequence, sentence)

    def check_head(self, head: Head) -> None:
        newest = self.statements[-1].sequence if self.statements else 0
        if head.sequence > newest:
            self._explain(newest + 1, head.sequence, head.digest, ChainBreak.SHORTENED)
        for statement in self.statements:
            if statement.sequence == head.sequence and statement.digest != head.digest:
                sentence = f"Statement {head.sequence} is not the one that this machine made last."
                raise ChainFault(ChainBreak.FORKED, head.sequence, sentence)

    def _explain(self, first: int, last: int, newest: bytes, kind: ChainBreak = ChainBreak.GAP) -> None:
        """Accept missing statements only when the newest of them, and as many as are missing, have expired."""
        self.spare -= last - first + 1
        if newest[:16] in self.expired and self.spare >= 0:
            return
        which = f"Statement {first} is" if first == last else f"Statements {first} to {last} are"
        where = "at the end" if kind is ChainBreak.SHORTENED else "in the chain"
        raise ChainFault(kind, first, f"{which} missing {where}, and no lifecycle record says why.")
