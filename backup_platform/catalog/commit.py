"""Commit: publication of a snapshot, and the one place where its completeness is decided.

The order is law 1: the objects go to the store (each fsynced), then one transaction under the vault's shared lock
checks every needed id and writes the snapshot's row, then the caller acknowledges. A crash before the row leaves
objects that the repeated commit finds in place; a crash after it, a commit whose repetition gets the same answer.
A row of `Publication` says from before the first object until the snapshot's row which objects those are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone

from backup_platform.catalog.chunk_index import vault_lock
from backup_platform.catalog.errors import Fenced, InvalidCommit
from backup_platform.catalog.models import Publication, Session, SessionState, Snapshot, SnapshotState
from backup_platform.catalog.needs import block_ids, find_lacking
from backup_platform.catalog.proposals import Proposal, check_proposal, known_counts
from backup_platform.catalog.publication import publish
from backup_platform.catalog.sessions import find_base, find_head
from backup_platform.catalog.work import ask_to_complete
from backup_platform.fleet.models import Machine
from backup_platform.vaults.models import Vault


@dataclass(frozen=True, slots=True)
class Committed:
    """The snapshot is published. Repeating the commit gets the same snapshot and time (its state may have moved on)."""

    snapshot: UUID
    state: str
    received_at: datetime


@dataclass(frozen=True, slots=True)
class MissingIds:
    """Nothing was published: the server lacks these ids (chunks or reference blocks). Send them and commit again."""

    ids: list[bytes]


def commit_snapshot(
    machine: Machine,
    session_id: UUID,
    fence: int,
    statement: bytes,
    root: bytes,
    recipients: Sequence[bytes],
    blocks: bytes,
    statistics: dict[str, object],
) -> Committed | MissingIds:
    """Publish a snapshot. `blocks` are the joined ids of its reference blocks in manifest order.

    Raises InvalidCommit (content refused), Fenced (a newer connection took over), StoreError and RecordUnavailable
    (temporary: nothing was published, commit again). Must not be called inside a transaction.
    """
    vault = Vault.objects.get(pk=machine.vault_id)
    proposal = check_proposal(machine, vault, statement, root, recipients, blocks)
    answer = _answer_of_repetition(machine, proposal)
    if answer is not None:
        return answer
    if not _live(session_id, fence, machine).exists():
        raise Fenced
    _check_chain(machine, proposal)
    # Asked once before anything is stored, so that an incomplete commit leaves nothing behind; decided under the lock.
    lacking = find_lacking(vault.number, _new_blocks(machine, proposal), revive=False)
    if lacking:
        return MissingIds(lacking)
    _announce(machine, vault, proposal, session_id)
    published = publish(machine, vault, proposal, known_counts(statistics))
    with vault_lock(vault.number, shared=True):
        return _decide(machine, vault, proposal, session_id, fence, statistics, published.recipients, published.at)


def _decide(
    machine: Machine,
    vault: Vault,
    proposal: Proposal,
    session_id: UUID,
    fence: int,
    statistics: dict[str, object],
    recipients: bytes,
    received_at: datetime,
) -> Committed | MissingIds:
    # The long look comes before the session's row is locked, so that its lease can be renewed meanwhile.
    lacking = find_lacking(vault.number, _new_blocks(machine, proposal), revive=True)
    session = _live(session_id, fence, machine, lock=True).first()
    answer = _answer_of_repetition(machine, proposal)
    if answer is not None:
        return answer
    if session is None:
        raise Fenced
    _check_chain(machine, proposal)
    if lacking:
        return MissingIds(lacking)
    snapshot = _write_row(machine, vault, proposal, session, statistics, recipients, received_at)
    Session.objects.filter(pk=session.pk).update(state=SessionState.COMMITTED, ended_at=timezone.now())
    Publication.objects.filter(pk=snapshot.pk).delete()
    ask_to_complete(snapshot)
    return Committed(snapshot.pk, SnapshotState.RECEIVED, received_at)


def _write_row(
    machine: Machine,
    vault: Vault,
    proposal: Proposal,
    session: Session,
    statistics: dict[str, object],
    recipients: bytes,
    received_at: datetime,
) -> Snapshot:
    return Snapshot.objects.create(
        id=proposal.snapshot_id,
        tenant_id=machine.tenant_id,
        vault=vault,
        machine=machine,
        session=session,
        sequence=proposal.statement.sequence,
        statement=proposal.statement_bytes,
        statement_digest=proposal.statement.digest,
        root_hash=proposal.statement.root_hash,
        root_bytes=len(proposal.root),
        recipients=recipients,
        blocks=b"".join(proposal.blocks),
        machine_time=proposal.machine_time,
        received_at=received_at,
        statistics=known_counts(statistics),
    )


def _announce(machine: Machine, vault: Vault, proposal: Proposal, session_id: UUID) -> None:
    """Write down what is about to be put into the store. Waits for whoever takes the same objects back just now."""
    whose = {"tenant_id": machine.tenant_id, "vault": vault, "machine": machine, "session_id": session_id}
    Publication.objects.update_or_create(
        pk=proposal.snapshot_id, defaults={**whose, "sequence": proposal.statement.sequence}
    )


def _answer_of_repetition(machine: Machine, proposal: Proposal) -> Committed | None:
    same = Snapshot.objects.filter(pk=proposal.snapshot_id, machine=machine).first()
    if same is None or bytes(same.statement_digest) != proposal.statement.digest:
        return None
    return Committed(same.pk, same.state, same.received_at)


def _live(session_id: UUID, fence: int, machine: Machine, *, lock: bool = False) -> QuerySet[Session]:
    sessions = Session.objects.select_for_update(of=("self",)) if lock else Session.objects.all()
    return sessions.filter(pk=session_id, fence=fence, machine=machine, state=SessionState.OPEN)


def _check_chain(machine: Machine, proposal: Proposal) -> None:
    head = find_head(machine)
    statement = proposal.statement
    if statement.sequence != head.sequence + 1:
        raise InvalidCommit(f"The statement's number is {statement.sequence}, where {head.sequence + 1} is due.")
    if statement.previous != head.digest:
        raise InvalidCommit("The statement does not follow this machine's newest one.")


def _new_blocks(machine: Machine, proposal: Proposal) -> list[bytes]:
    """The blocks that must be looked at: those of a live, undamaged base were complete when it was committed,
    and stay so while it lives."""
    base = _trusted_base(machine)
    if base is None:
        return proposal.blocks
    known = set(block_ids(base))
    return [block for block in proposal.blocks if block not in known]


def _trusted_base(machine: Machine) -> Snapshot | None:
    """The newest good snapshot, unless damage may have met it unseen: damage finds snapshots by their bitmaps.

    Without a bitmap, the vault's generation tells: nothing was taken away since before its commit if it is the same.
    """
    newest = find_base(machine)
    if newest is None:
        return None
    base = Snapshot.objects.select_related("session", "vault").defer("bitmap").get(pk=newest)
    if base.state == SnapshotState.VERIFIED:
        return base
    unharmed = base.session is not None and base.session.generation == base.vault.generation
    return base if unharmed else None
