"""What happens to holds without anybody: their end comes, and snapshots come under them. Both leave records."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef

from backup_platform.audit.services import record as record_audit
from backup_platform.catalog.models import Snapshot, SnapshotState
from protocol.stored.lifecycle import LifecycleEvent

from . import lifecycle
from .holding import covered, in_force
from .models import Hold, LifecycleEntry
from .turns import take_turn

LOT = 1000
OWN_END = "its own end"


def end_holds(tenant_id: UUID, now: datetime) -> int:
    """Release the holds whose end has come; how many."""
    with transaction.atomic():
        take_turn(tenant_id)
        over = list(Hold.objects.select_for_update().filter(tenant_id=tenant_id, released_at=None, until__lte=now))
        for hold in over:
            ended(hold, by=OWN_END, because="Its time is over.", now=now)
    return len(over)


def ended(hold: Hold, *, by: str, because: str, now: datetime) -> None:
    """Write down that a hold is released, in the transaction in force; the records of snapshots follow."""
    Hold.objects.filter(pk=hold.pk, released_at__isnull=True).update(
        released_at=now, released_by=by[:200], released_because=because[:300]
    )
    record_audit(
        "hold.released",
        actor=by,
        object=f"hold:{hold.pk}",
        tenant=hold.tenant_id,
        case=hold.case,
        because=because,
        asked_by=hold.asked_by,
    )


def mark_covered(tenant_id: UUID, now: datetime) -> int:
    """Note the records that are due: *set* for snapshots that came under a hold, *released* for those that were."""
    count = 0
    for hold in in_force(tenant_id, now):
        there = Snapshot.objects.filter(covered(hold)).exclude(state=SnapshotState.RECLAIMED)
        count += _note(hold, LifecycleEvent.HOLD_SET, there.filter(~_noted(hold, LifecycleEvent.HOLD_SET)))
    set_on = LifecycleEntry.objects.filter(hold=OuterRef("pk"), event=int(LifecycleEvent.HOLD_SET))
    for hold in Hold.objects.filter(Exists(set_on), tenant_id=tenant_id, released_at__isnull=False):
        marked = Snapshot.objects.filter(_noted(hold, LifecycleEvent.HOLD_SET))
        count += _note(hold, LifecycleEvent.HOLD_RELEASED, marked.filter(~_noted(hold, LifecycleEvent.HOLD_RELEASED)))
    return count


def _noted(hold: Hold, event: LifecycleEvent) -> Exists:
    return Exists(LifecycleEntry.objects.filter(snapshot=OuterRef("pk"), hold=hold, event=int(event)))


def _note(hold: Hold, event: LifecycleEvent, snapshots: object) -> int:
    pks = list(snapshots.order_by("pk").values_list("pk", flat=True))  # type: ignore[attr-defined]
    for start in range(0, len(pks), LOT):
        with transaction.atomic():
            lifecycle.append(pks[start : start + LOT], event, told(hold), tenant_id=hold.tenant_id, hold=hold)
    return len(pks)


def told(hold: Hold) -> dict[str, str]:
    """What a record says of a hold: enough to set it again in a catalogue that is rebuilt from a store."""
    times = {name: getattr(hold, name) for name in ("until", "received_from", "received_until")}
    return {
        "hold": str(hold.pk),
        "case": hold.case,
        "reason": hold.reason,
        "scope": hold.scope,
        "machine": str(hold.machine_id or ""),
        **{name: moment.isoformat() if moment else "" for name, moment in times.items()},
    }
