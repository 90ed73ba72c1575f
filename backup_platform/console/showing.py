"""How values are shown: sizes, counts, durations and times that a person can read at a glance."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
NOTHING = "–"


def size(count: Any) -> str:
    """Bytes as text: 1.4 GiB."""
    if not isinstance(count, int | float):
        return NOTHING
    value = float(count)
    for unit in UNITS:
        if value < 1024 or unit == UNITS[-1]:
            break
        value /= 1024
    return f"{value:.0f} {unit}" if value >= 100 or unit == "B" else f"{value:.1f} {unit}"


def number(count: Any) -> str:
    """A count with its thousands apart: 1,204,355."""
    return f"{count:,}" if isinstance(count, int) else NOTHING


def duration(seconds: Any) -> str:
    """A length of time: 0.4 s, 12 s, 3 min 20 s, 2 h 5 min."""
    if not isinstance(seconds, int | float) or seconds < 0:
        return NOTHING
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} days"


def ago(moment: datetime | None) -> str:
    """How long ago: just now, 5 min ago, 3 h ago, 12 days ago."""
    if moment is None:
        return "never"
    seconds = (timezone.now() - moment).total_seconds()
    if seconds < 60:
        return "just now"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min ago"
    if seconds < 2 * 86400:
        return f"{seconds / 3600:.0f} h ago"
    return f"{seconds / 86400:.0f} days ago"


def moment(value: datetime | None) -> SafeString | str:
    """How long ago, with the exact time on hover."""
    if value is None:
        return NOTHING
    return format_html(
        '<time datetime="{}" title="{} UTC" class="sr-time">{}</time>',
        value.isoformat(),
        f"{value:%Y-%m-%d %H:%M:%S}",
        ago(value),
    )


def code(text: str, length: int = 0) -> SafeString:
    """An id or a digest, in a face that keeps its digits apart; cut to `length` with the whole on hover."""
    shown = text[:length] if length else text
    return format_html('<code class="sr-code" title="{}">{}</code>', text, shown)


def ratio(whole: Any, part: Any) -> str:
    """How many times smaller `part` is: 3.2×."""
    if not isinstance(whole, int | float) or not isinstance(part, int | float) or part <= 0 or whole <= 0:
        return NOTHING
    times = whole / part
    if times >= 1000:
        return "over 1,000×"
    return f"{times:.1f}×" if times < 10 else f"{times:.0f}×"
