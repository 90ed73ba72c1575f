"""Moments that somebody writes into an address. They are kept in UTC: another zone's may lie beyond every calendar."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.core.exceptions import ValidationError
from django_filters import fields
from django_filters import rest_framework as filters


class MomentField(fields.IsoDateTimeField):
    """ISO 8601, answered in UTC; what is no moment that PostgreSQL knows is a fault of the request."""

    def to_python(self, value: Any) -> datetime | None:
        """None for nothing. Raises ValidationError."""
        found: datetime | None = super().to_python(value)
        try:
            return None if found is None else found.astimezone(UTC)
        except OverflowError:
            raise ValidationError(self.error_messages["invalid"], code="invalid") from None


class MomentFilter(filters.IsoDateTimeFilter):
    """Rows from a moment on, or before it."""

    field_class = MomentField


def in_utc(text: str) -> str | None:
    """A moment with its zone as a row's own is written, in UTC; None when the text is no such moment."""
    try:
        found = datetime.fromisoformat(text)
        return str(found.astimezone(UTC)) if found.tzinfo else None
    except (ValueError, OverflowError):
        return None
