"""Letting snapshots expire: what nothing keeps, decided and written under the locks of a machine's snapshots.

Law 4: only the server's retention deletes, with a delay, and says so in the audit. Expired means marked: all data
stays, and counts as needed, until the days for bringing back are over.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction

from backup_platform.audit.services import record as record_audit
from backup_platform.catalog.models import Snapshot, SnapshotState
from backup_platform.fleet.models import Machine
from backup_platform.vaults.models import Vault
from protocol.stored.lifecycle import LifecycleEvent

from . import lifecycle
from .defaults import delays_of
from .guarding import is_suspicious, settle
from .holding import held
from .judging import Judge, Judged
from .models import Expiry
from .turns import take_turn

ACTOR = "retention"
LOT = 500
"""Snapshots in one transaction, and so in one line of the audit, which names each of them."""
MAX_REASON = 300


@dataclass(frozen=True, slots=True)
class Expired:
    """What a run did with one machine."""

    snapshots: int = 0
    stopped: bool = False
    """More would have gone than a run may drop; a person is asked."""
    more: bool = False
    """There is more to do: call again."""


def expire_machine(machine: Machine, now: datetime) -> Expired:
    """Let a machine's snapshots expire that nothing keeps. Call it in the tenant's scope, outside a transaction."""
    with transaction.atomic():
        take_turn(machine.tenant_id)  # a hold that is being set is waited for, and then counts
        judged = Judge(machine.tenant_id, now, [machine.pk]).machine(machine, lock=True)
        going = [(one, decision.facts.id) for one in judged for decision in one.expiring]
        if is_suspicious(machine, judged, delays_of(machine.tenant_id).guard_percent):
            return Expired(stopped=True)
        count = expire(_with_reasons(going[:LOT]), by=ACTOR, now=now)
        if len(going) <= LOT:
            settle(machine)
    return Expired(count, more=len(going) > LOT)


def _with_reasons(going: Iterable[tuple[Judged, UUID]]) -> dict[str, list[Snapshot]]:
    found: dict[str, list[Snapshot]] = defaultdict(list)
    for judged, pk in going:
        found[f"Nothing keeps it: {judged.rules.words()}."[:MAX_REASON]].append(judged.snapshots[pk])
    return found


def expire(by_reason: dict[str, list[Snapshot]], *, by: str, now: datetime) -> int:
    """Mark snapshots as expired, with row, record and audit; how many were. The caller has locked and judged them."""
    count = 0
    for because, snapshots in by_reason.items():
        gone = [pk for state in (SnapshotState.VERIFIED, SnapshotState.DAMAGED)
                for pk in _mark(snapshots, state, because, now)]  # fmt: skip
        if gone:
            _write_down([one for one in snapshots if one.pk in set(gone)], because, by, now)
            count += len(gone)
    return count


def _mark(snapshots: Sequence[Snapshot], state: str, because: str, now: datetime) -> list[UUID]:
    """The guarded update: of what still has this state, and is under no hold."""
    if not snapshots:
        return []
    tenant_id = snapshots[0].tenant_id
    rows = Snapshot.objects.filter(tenant_id=tenant_id, pk__in=[one.pk for one in snapshots], state=state)
    found = list(rows.exclude(held(tenant_id, now)).select_for_update(no_key=True).values_list("pk", flat=True))
    Snapshot.objects.filter(pk__in=found, state=state).update(
        state=SnapshotState.EXPIRED, state_before=state, expired_at=now, expired_because=because
    )
    return found


def _write_down(snapshots: Sequence[Snapshot], because: str, by: str, now: datetime) -> None:
    tenant_id = snapshots[0].tenant_id
    until = now + delays_of(tenant_id).undelete
    generations = dict(Vault.objects.filter(tenant_id=tenant_id).values_list("pk", "generation"))
    Expiry.objects.bulk_create(
        Expiry(tenant_id=tenant_id, snapshot=one, at=now, by=by[:200], because=because, until=until,
               generation=generations[one.vault_id])
        for one in snapshots
    )  # fmt: skip
    pks = [one.pk for one in snapshots]
    lifecycle.append(pks, LifecycleEvent.EXPIRED, {"because": because, "by": by[:200]}, tenant_id=tenant_id, at=now)
    machines = sorted({str(one.machine_id) for one in snapshots})
    record_audit(
        "snapshots.expired",
        actor=by,
        object=f"machine:{machines[0]}" if len(machines) == 1 else "snapshots",
        tenant=tenant_id,
        because=because,
        count=len(pks),
        until=until,
        snapshots=[pk.hex for pk in pks],
    )
