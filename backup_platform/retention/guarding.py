"""The guard against mass expiry: a run that would drop too much of a machine stops, says so, and asks a person.

Wrong settings, a group that was emptied, a server's clock that jumped: each could make a run drop nearly everything.
What a person confirmed are these snapshots and no others; whatever else the next run finds is judged anew.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.utils import timezone

from backup_platform.audit.services import record as record_audit
from backup_platform.fleet.models import Machine
from backup_platform.notifications.services import raise_alert, resolve_alert
from backup_platform.notifications.words import AlertKind, Level

from .judging import Judged
from .models import ExpiryStop
from .planning import GOOD

FEW = 3
"""A run that drops fewer good snapshots is never suspicious: one of two going is daily life."""


def is_suspicious(machine: Machine, judged: Sequence[Judged], percent: int) -> bool:
    """Whether a run must stop here. Notes it, and raises the alert; call it in the run's transaction."""
    dropping = [one.facts for series in judged for one in series.expiring if one.facts.state == GOOD]
    good = sum(one.facts.state == GOOD for series in judged for one in series.decisions)
    stop = ExpiryStop.objects.select_for_update().filter(machine=machine, closed_at__isnull=True).first()
    confirmed = set(stop.snapshots) if stop is not None and stop.confirmed_at else set()
    asked = [facts.id.hex for facts in dropping if facts.id.hex not in confirmed]
    if len(asked) < FEW or len(asked) * 100 <= good * percent:
        return False
    _ask(machine, stop, asked, good)
    return True


def _ask(machine: Machine, stop: ExpiryStop | None, asked: list[str], good: int) -> None:
    if stop is None or stop.confirmed_at:
        if stop is not None:
            ExpiryStop.objects.filter(pk=stop.pk).update(closed_at=timezone.now())
        stop = ExpiryStop.objects.create(
            tenant_id=machine.tenant_id, machine=machine, snapshots=asked, dropping=len(asked), good=good
        )
        record_audit(
            "expiry.stopped",
            actor="retention",
            object=f"machine:{machine.pk}",
            tenant=machine.tenant_id,
            dropping=len(asked),
            good=good,
        )
    elif stop.snapshots != asked or stop.good != good:
        ExpiryStop.objects.filter(pk=stop.pk).update(snapshots=asked, dropping=len(asked), good=good)
    raise_alert(
        machine.tenant_id,
        AlertKind.EXPIRY,
        f"machine:{machine.pk}",
        Level.ERROR,
        f"Expiry stopped: {len(asked):,} of {good:,} good snapshots of {machine.name} would have gone in one run.",
        "Look at the rules that apply to it. If they are meant, confirm it under Storage, Stopped expiries.",
        key_of(machine),
        machine_id=machine.pk,
    )


def settle(machine: Machine) -> None:
    """A run went through: what was stopped before is done, or no longer asked."""
    stops = ExpiryStop.objects.filter(machine=machine, closed_at__isnull=True)
    if stops.update(closed_at=timezone.now()):
        resolve_alert(machine.tenant_id, key_of(machine), "A later run went through.")


def key_of(machine: Machine) -> str:
    """What names the alert of a machine."""
    return f"expiry:{machine.pk}"
