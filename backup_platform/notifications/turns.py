"""Whose turn it is: of all workers one does a thing, at most once in so many seconds."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from backup_platform.notifications.models import Turn


def take_turn(name: str, every: timedelta) -> bool:
    """Whether the caller is to do it now: one conditional UPDATE (or the first INSERT) decides."""
    now = timezone.now()
    if Turn.objects.filter(name=name, at__lte=now - every).update(at=now):
        return True
    if Turn.objects.filter(name=name).exists():
        return False
    # Of two at once that find no row, the one whose own time stands there has the turn.
    Turn.objects.bulk_create([Turn(name=name, at=now)], ignore_conflicts=True)
    return Turn.objects.filter(name=name, at=now).exists()


def note(name: str, text: str) -> None:
    """How it ended, for people to see."""
    Turn.objects.filter(name=name).update(note=text[:200])
