"""Raising and resolving alerts. Both are rows in the caller's transaction; telling people about them comes later.

`raise_alert` may be called as often as the thing is seen: while an alert with its key is open, it only counts up, and
people hear of it again only when it got worse. Two callers at once make one alert: the database's partial unique
index decides. Nothing is sent here, so neither a mail server nor the broker can hold a caller up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from django.db import connection
from django.db.models import Q, Value
from django.utils import timezone

from backup_platform.notifications.models import Alert
from backup_platform.notifications.words import Level
from backup_platform.tenants.scope import ScopeError, current_tenant_id, has_scope, without_tenant_scope

MAX_TEXT = 500
MAX_BATCH = 1000

RAISE_SQL = """
    INSERT INTO notifications_alert AS open (
        id, tenant_id, machine_id, kind, subject, level, text, advice, dedupe_key, opened_at, last_seen_at, count,
        announced_level, pending, acknowledged_by, resolution)
    SELECT found.id, found.tenant, found.machine, found.kind, found.subject, found.level, found.text, found.advice,
           found.dedupe, %(now)s, %(now)s, 1, 0, true, '', ''
      FROM unnest(%(id)s::uuid[], %(tenant)s::uuid[], %(machine)s::uuid[], %(kind)s::text[], %(subject)s::text[],
                  %(level)s::int[], %(text)s::text[], %(advice)s::text[], %(dedupe)s::text[])
           AS found(id, tenant, machine, kind, subject, level, text, advice, dedupe)
    ON CONFLICT (tenant_id, dedupe_key) WHERE resolved_at IS NULL
    DO UPDATE SET last_seen_at = excluded.last_seen_at, count = open.count + 1, level = excluded.level,
                  text = excluded.text, advice = excluded.advice,
                  pending = open.pending OR excluded.level > open.announced_level
    RETURNING id
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """What `raise_alert` is told, for raising many at once."""

    tenant_id: UUID | None
    kind: str
    subject: str
    level: Level
    text: str
    advice: str
    dedupe_key: str
    machine_id: UUID | None = None


def raise_alert(
    tenant_id: UUID | None,
    kind: str,
    subject: str,
    level: str | Level,
    text: str,
    advice: str = "",
    dedupe_key: str = "",
    *,
    machine_id: UUID | None = None,
) -> UUID:
    """Say that something is wrong, in the transaction in force; returns the open alert's id.

    `level` is info, warning or error. `dedupe_key` names the trouble within the tenant ("kind:subject" unless given).
    `machine_id` limits who sees it to those who see the machine; a subject `machine:<id>` says the same. Texts are
    plain sentences without secrets or file names. Raises ScopeError for another tenant than the one in force.
    """
    named = machine_id or _machine_of(subject)
    finding = Finding(tenant_id, str(kind), subject, Level.of(level), text, advice, dedupe_key, named)
    return raise_alerts([finding])[0]


def raise_alerts(findings: Sequence[Finding]) -> list[UUID]:
    """Raise many at once, in a few statements; the open alerts' ids. Of two with one key the last one counts."""
    if any(_has_foreign_scope(finding.tenant_id) for finding in findings):
        raise ScopeError("An alert of another tenant cannot be raised in this tenant's scope.")
    # Always in the same order, so that two callers at once wait for each other and never both.
    unique = {(str(finding.tenant_id), _key_of(finding)): finding for finding in findings}
    ordered = [unique[key] for key in sorted(unique)]
    ids: list[UUID] = []
    with connection.cursor() as cursor:
        for start in range(0, len(ordered), MAX_BATCH):
            cursor.execute(RAISE_SQL, _columns(ordered[start : start + MAX_BATCH]))
            ids += [row[0] for row in cursor]
    return ids


def resolve_alert(tenant_id: UUID | None, dedupe_key: str, text: str = "") -> bool:
    """Say that it is over, in the transaction in force. False when no such alert was open."""
    if _has_foreign_scope(tenant_id):
        raise ScopeError("An alert of another tenant cannot be resolved in this tenant's scope.")
    with without_tenant_scope("an alert is resolved by its tenant and key"):
        whose = Q(tenant=tenant_id) if tenant_id else Q(tenant__isnull=True)
        same = Alert.objects.filter(whose, dedupe_key=dedupe_key, resolved_at__isnull=True)
        return bool(close(same, text))


def close(alerts: Any, text: str) -> int:
    """Resolve the open ones of these alerts; their count."""
    changes = {"resolved_at": timezone.now(), "resolution": text[:MAX_TEXT], "pending": Value(True)}
    return int(alerts.filter(resolved_at__isnull=True).update(**changes))


def _has_foreign_scope(tenant_id: UUID | None) -> bool:
    """Whether a scope of another tenant is in force."""
    return has_scope() and current_tenant_id() not in (None, tenant_id)


def _machine_of(subject: str) -> UUID | None:
    kind, _, text = subject.partition(":")
    try:
        return UUID(text) if kind == "machine" else None
    except ValueError:
        return None


def _key_of(finding: Finding) -> str:
    return (finding.dedupe_key or f"{finding.kind}:{finding.subject}")[:200]


def _columns(findings: Sequence[Finding]) -> dict[str, Any]:
    return {
        "now": timezone.now(),
        "id": [uuid4() for _ in findings],
        "tenant": [f.tenant_id for f in findings],
        "machine": [f.machine_id for f in findings],
        "kind": [f.kind[:32] for f in findings],
        "subject": [f.subject[:100] for f in findings],
        "level": [int(f.level) for f in findings],
        "text": [f.text[:MAX_TEXT] for f in findings],
        "advice": [f.advice[:MAX_TEXT] for f in findings],
        "dedupe": [_key_of(f) for f in findings],
    }
