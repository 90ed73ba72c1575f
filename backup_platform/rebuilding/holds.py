"""Legal holds again, from the records that they left with the snapshots that they cover.

A hold on a tenant or a machine comes back whole. One on a policy, which is known no more, or one whose record does not
say what it covered, comes back for each snapshot that it marked: what is made later has to be put under it anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

from django.db import transaction
from django.utils.dateparse import parse_datetime

from backup_platform.audit.services import record as record_audit
from backup_platform.fleet.models import Machine
from backup_platform.retention.models import Hold, HoldScope
from protocol.stored.lifecycle import LifecycleRecord

from .fates import moment
from .report import Report

SET_BY = "a rebuild of the catalogue"


@dataclass
class HoldsAgain:
    """Makes the holds of one tenant; the same hold of many snapshots once. Use it in the tenant's scope."""

    tenant_id: UUID
    report: Report

    def make(self, snapshot: UUID, name: str, record: LifecycleRecord) -> None:
        """Make the hold that this record of a snapshot set, unless it is there."""
        fields = self._whole(record.detail) or {"scope": HoldScope.SNAPSHOT, "snapshot_id": snapshot}
        known = _uuid(name)
        whole = fields["scope"] != HoldScope.SNAPSHOT
        identity = known if known is not None and whole else uuid5(snapshot, name)
        values = {
            "tenant_id": self.tenant_id,
            "case": (record.detail.get("case") or "unknown")[:100],
            "reason": (record.detail.get("reason") or "Its reason is not known: the catalogue was rebuilt.")[:500],
            "until": _time(record.detail.get("until", "")),
            "received_from": _time(record.detail.get("received_from", "")),
            "received_until": _time(record.detail.get("received_until", "")),
            "set_by": SET_BY,
            **fields,
        }
        with transaction.atomic():
            hold, made = Hold.objects.get_or_create(pk=identity, defaults=values)
            if made:
                detail = {"case": hold.case, "set_at": moment(record.time), "because": SET_BY}
                record_audit("hold.set", actor=SET_BY, object=f"hold:{hold.pk}", tenant=self.tenant_id, **detail)
                self.report.count("holds")

    def _whole(self, detail: dict[str, str]) -> dict[str, Any] | None:
        """Scope and object of a hold that can come back as it was."""
        scope = detail.get("scope", "")
        if scope == HoldScope.TENANT:
            return {"scope": HoldScope.TENANT}
        machine = _uuid(detail.get("machine", ""))
        if scope == HoldScope.MACHINE and machine and Machine.objects.filter(pk=machine).exists():
            return {"scope": HoldScope.MACHINE, "machine_id": machine}
        return None


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _time(text: str) -> datetime | None:
    try:
        found = parse_datetime(text) if text else None
        return found.astimezone(UTC) if found is not None and found.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
