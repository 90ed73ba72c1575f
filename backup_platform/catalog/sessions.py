"""Backup sessions: one open per machine, held by a lease, guarded by a fence number that each takeover raises.

Clocks decide only whether somebody may *ask* for a session; what may be written is decided by the fence.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from backup_platform.catalog.chunk_index import vault_lock
from backup_platform.catalog.errors import Busy, Fenced
from backup_platform.catalog.models import Session, SessionState, Snapshot, SnapshotState, Wanted
from backup_platform.fleet.models import Machine
from backup_platform.vaults.models import Vault
from protocol.stored.statements import NO_PREVIOUS

logger = logging.getLogger(__name__)

LEASE = timedelta(seconds=60)
"""How long a silent connection keeps its session from others."""
SKEW = timedelta(minutes=5)
"""How far two gateways' clocks may differ. A lease that ends later was given before a clock was set back, and is over:
the fence guards what is written, so a takeover is never wrong."""
ABANDONED_AFTER = timedelta(days=14)
"""An idle session stops holding back reclaim after this."""
MAX_WANTED = 16_384
"""Wanted ids told at begin: half a megabyte; the rest are told at the next."""


@dataclass(frozen=True, slots=True)
class Begun:
    """What an agent learns at begin. `wanted` are 32-byte ids; `base` the newest committed, undamaged snapshot."""

    session: UUID
    fence: int
    generation: int
    wanted: list[bytes]
    head: bytes
    head_sequence: int
    base: UUID | None


@dataclass(frozen=True, slots=True)
class Head:
    """A machine's newest statement on the server: its digest (zeros when there is none) and sequence number."""

    digest: bytes
    sequence: int


def begin_session(machine: Machine, gateway: str, generation: int = 0) -> Begun:
    """Open a session for the machine, or take over its unfinished one whose lease has ended (fence + 1).

    `generation` is that of the agent's cache, for the log. Raises Busy while another connection's lease is live.

    Under the vault's lock, shared: whoever condemns chunks under the exclusive one sees every session that may have
    been told that they are there, and no clock has to say which came first.
    """
    vault = Vault.objects.get(pk=machine.vault_id)
    with vault_lock(vault.number, shared=True):
        vault.refresh_from_db(fields=["generation"])
        session = _take_over(machine, gateway, vault) or _open(machine, gateway, vault)
    if generation not in (0, vault.generation):
        logger.info("The agent's cache is of an older catalogue generation.", extra={"machine": str(machine.pk)})
    head = find_head(machine)
    return Begun(
        session=session.pk,
        fence=session.fence,
        generation=vault.generation,
        wanted=_wanted(machine),
        head=head.digest,
        head_sequence=head.sequence,
        base=find_base(machine),
    )


def renew_session(session_id: UUID, fence: int) -> datetime:
    """Prolong the lease of a live session and return its end; Fenced when it was taken over or has ended."""
    now = timezone.now()
    changed = _held(session_id, fence).update(last_seen_at=now, lease_until=now + LEASE)
    if not changed:
        raise Fenced
    return now + LEASE


def release_session(session_id: UUID, fence: int) -> bool:
    """End the lease now, because the connection has gone: a reconnect need not wait. A wrong fence does nothing."""
    return bool(_held(session_id, fence).update(lease_until=timezone.now()))


def release_sessions_of(gateway: str) -> int:
    """End the leases of a gateway that is known to be dead: its machines need not wait for them. Returns how many."""
    now = timezone.now()
    return Session.objects.filter(gateway=gateway, state=SessionState.OPEN, lease_until__gt=now).update(lease_until=now)


def end_session(session_id: UUID, fence: int) -> bool:
    """End a session for good, because its agent gave up. What arrived stays until reclaimed."""
    return bool(_held(session_id, fence).update(state=SessionState.ENDED, ended_at=timezone.now()))


def abandon_idle_sessions() -> int:
    """Mark sessions abandoned that nobody has touched for 14 days; returns how many."""
    now = timezone.now()
    idle = Session.objects.filter(state=SessionState.OPEN, last_seen_at__lt=now - ABANDONED_AFTER)
    return idle.update(state=SessionState.ABANDONED, ended_at=now)


def find_head(machine: Machine) -> Head:
    """The newest statement of a machine, whatever became of its snapshot: statements never expire."""
    newest = Snapshot.objects.filter(machine=machine).order_by("-sequence").values("statement_digest", "sequence")
    row = newest.first()
    return Head(bytes(row["statement_digest"]), row["sequence"]) if row else Head(NO_PREVIOUS, 0)


def find_base(machine: Machine) -> UUID | None:
    """The newest snapshot of a machine that is neither damaged nor expired."""
    good = Snapshot.objects.filter(machine=machine, state__in=[SnapshotState.RECEIVED, SnapshotState.VERIFIED])
    return good.order_by("-sequence").values_list("pk", flat=True).first()


def _take_over(machine: Machine, gateway: str, vault: Vault) -> Session | None:
    now = timezone.now()
    unfinished = Session.objects.filter(machine=machine, state=SessionState.OPEN)
    over = Q(lease_until__lte=now) | Q(lease_until__gt=now + LEASE + SKEW)
    taken = unfinished.filter(over).update(
        fence=F("fence") + 1,
        gateway=gateway,
        generation=vault.generation,
        lease_until=now + LEASE,
        last_seen_at=now,
    )
    session = unfinished.first()
    if session is not None and not taken:
        raise Busy(max(1.0, (session.lease_until - now).total_seconds()))
    return session


def _open(machine: Machine, gateway: str, vault: Vault) -> Session:
    try:
        with transaction.atomic():
            return Session.objects.create(
                tenant_id=machine.tenant_id,
                vault=vault,
                machine=machine,
                gateway=gateway,
                generation=vault.generation,
                lease_until=timezone.now() + LEASE,
            )
    except IntegrityError as fault:
        if "one_open_session_per_machine" not in str(fault):
            raise
        raise Busy(LEASE.total_seconds()) from None


def _held(session_id: UUID, fence: int) -> QuerySet[Session]:
    return Session.objects.filter(pk=session_id, fence=fence, state=SessionState.OPEN)


def _wanted(machine: Machine) -> list[bytes]:
    rows = Wanted.objects.filter(machine=machine).order_by("id").values_list("chunk_id", flat=True)
    return [bytes(chunk_id) for chunk_id in rows[:MAX_WANTED]]
