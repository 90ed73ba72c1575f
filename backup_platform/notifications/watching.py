"""The sweep of the rules: once a minute, whatever is wrong now becomes an alert, and what is not any more is resolved.

A rule says everything that it finds; the open alerts of its kind are brought in line with that. So the sweep may be
missed or done twice, an alert is opened once and closed once, and only changes are written.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from backup_platform.fleet.models import MachineState
from backup_platform.notifications import disks, drill_rule, platform_rules, quota_rule, watch_rules
from backup_platform.notifications.models import Alert
from backup_platform.notifications.services import Finding, close, raise_alerts
from backup_platform.notifications.turns import take_turn
from backup_platform.notifications.words import AlertKind
from backup_platform.tenants.scope import without_tenant_scope

logger = logging.getLogger(__name__)

EVERY = timedelta(seconds=60)
SEEN_EVERY = timedelta(hours=1)
"""An open alert's row is touched this often: thousands of them a minute would be writes for nothing."""
Rule = Callable[[], Iterable[Finding]]

RULES: dict[AlertKind, tuple[Rule, str]] = {
    AlertKind.SILENT: (watch_rules.silent, "It has been heard of again, or is not backed up any more."),
    AlertKind.STALE: (watch_rules.stale, "A backup of it has been verified, or it is not backed up any more."),
    AlertKind.TENANT_STALE: (watch_rules.tenant_stale, "A backup has been verified."),
    AlertKind.OVERDUE: (watch_rules.overdue, "The backup has been done, or is not due any more."),
    AlertKind.DAMAGED: (watch_rules.damaged, "None of its snapshots is damaged any more."),
    AlertKind.UNPROVEN: (drill_rule.unproven, "A drill has succeeded, or none is asked for any more."),
    AlertKind.QUOTA: (quota_rule.nearly_used_up, "There is room again."),
    AlertKind.WORK_FAILED: (watch_rules.work_failed, "No job failed for good within the last day."),
}

# Kinds that are raised elsewhere too: of these the rule looks after the alerts with its own subject only.
SUBJECT_RULES: dict[str, tuple[AlertKind, Rule, str]] = {
    platform_rules.DATABASE: (AlertKind.OTHER, platform_rules.unsafe_database, "These settings are on again."),
    platform_rules.PAUSE: (AlertKind.RECLAIM, platform_rules.forgotten_pauses, "Reclaim is not paused any more."),
}


def watch_when_due() -> bool:
    """Sweep if a minute has passed since any worker did; whether this one did. Disks are each host's own."""
    if take_turn(disks.turn(), EVERY):
        reconcile(AlertKind.DISK, disks.nearly_full(), "There is room again.", subject=disks.subject())
    if not take_turn("rules", EVERY):
        return False
    watch()
    return True


def watch() -> None:
    """Sweep every rule; a rule that fails does not keep the others from being looked at."""
    with without_tenant_scope("the rules are watched for every tenant"):
        for kind, (rule, over) in RULES.items():
            _guarded(kind, rule, over)
        for subject, (kind, rule, over) in SUBJECT_RULES.items():
            _guarded(kind, rule, over, subject)
        left = Alert.objects.filter(resolved_at__isnull=True, machine__isnull=False)
        close(left.exclude(machine__state=MachineState.ACTIVE), "The machine is not backed up any more.")


def _guarded(kind: AlertKind, rule: Rule, over: str, subject: str = "") -> None:
    try:
        reconcile(kind, rule(), over, subject=subject)
    except Exception:
        logger.exception("A rule could not be watched.", extra={"rule": subject or str(kind)})


def reconcile(kind: AlertKind, found: Iterable[Finding], over: str, *, subject: str = "") -> None:
    """Bring the open alerts of a kind (and, if given, of one subject) in line with all that was found."""
    with transaction.atomic():
        same = Alert.objects.filter(kind=kind, resolved_at__isnull=True, **({"subject": subject} if subject else {}))
        known = {
            (row.tenant_id, row.dedupe_key): row for row in same.only("pk", "tenant_id", "dedupe_key", "level", "text")
        }
        now_true = {(finding.tenant_id, finding.dedupe_key): finding for finding in found}
        changed = [
            finding for key, finding in now_true.items()
            if key not in known or (known[key].level, known[key].text) != (int(finding.level), finding.text[:500])
        ]  # fmt: skip
        raise_alerts(changed)
        still = [row.pk for key, row in known.items() if key in now_true]
        seen = Alert.objects.filter(pk__in=still, last_seen_at__lt=timezone.now() - SEEN_EVERY)
        seen.update(last_seen_at=timezone.now())
        close(Alert.objects.filter(pk__in=[row.pk for key, row in known.items() if key not in now_true]), over)
