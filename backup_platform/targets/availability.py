"""Whether a target answers: noted on its row, and told to people once, while it lasts."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from backup_platform.notifications.services import raise_alert, resolve_alert
from backup_platform.notifications.words import AlertKind, Level
from backup_platform.storage.pace import TOO_SLOW
from backup_platform.targets.models import Target
from backup_platform.tenants.scope import without_tenant_scope

MAX_FAULT = 500


def note_away(target: Target, fault: object) -> None:
    """Say that a target did not answer or could not do what it was asked: since when stays as it was first noted.

    `fault` is an exception of `open_store` or of a store, or a sentence: it must hold no secret. May be called as often
    as it is seen, in any scope.
    """
    sentence = (getattr(fault, "of_the_store", "") or str(fault))[:MAX_FAULT]
    now = timezone.now()
    with transaction.atomic(), without_tenant_scope("a shared target belongs to no tenant"):
        mine = Target.objects.filter(pk=target.pk)
        mine.filter(away_since__isnull=True).update(away_since=now)
        mine.exclude(fault=sentence).update(fault=sentence)
        raise_alert(
            target.tenant_id, AlertKind.TARGET, f"target:{target.pk}", Level.ERROR,
            f"The target {target.name} is away: {sentence}",
            "Backups go on as long as one place takes them. Once it answers again, what is missing there is copied.",
            dedupe_key=_key(target),
        )  # fmt: skip
    target.away_since, target.fault = target.away_since or now, sentence


def is_slow(target: Target) -> bool:
    """Whether a target is called away because it is too slow: it answers, and that says nothing about packs."""
    return target.away_since is not None and target.fault.startswith(TOO_SLOW)


def note_back(target: Target) -> bool:
    """Say that a target answered; whether it had been away. Costs one query when it had not."""
    with transaction.atomic(), without_tenant_scope("a shared target belongs to no tenant"):
        was_away = Target.objects.filter(pk=target.pk, away_since__isnull=False).update(away_since=None, fault="") > 0
        if was_away:
            resolve_alert(target.tenant_id, _key(target), f"The target {target.name} answers again.")
    target.away_since, target.fault = None, ""
    return was_away


def _key(target: Target) -> str:
    return f"target-away:{target.pk}"
