"""What was last seen of the server's clock: one row of the platform."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q


class ClockWatch(models.Model):
    """When a tick last looked at the clock, and until when expiry rests because the clock has leapt."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    seen_at = models.DateTimeField()
    rests_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "clock watch"
        constraints: ClassVar = [models.CheckConstraint(condition=Q(id=1), name="one_row_of_clock_watch")]

    def __str__(self) -> str:
        return f"seen at {self.seen_at:%Y-%m-%d %H:%M}"
