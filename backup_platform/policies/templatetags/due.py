"""How a time to come is shown."""

from __future__ import annotations

from datetime import datetime

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()


@register.filter
def until(moment: datetime) -> SafeString:
    """How long until then, with the exact time beside it: in 3 h (2026-12-01 01:30 UTC)."""
    exact = f"{moment:%Y-%m-%d %H:%M} UTC"
    return format_html('<time datetime="{}" class="sr-time">{} ({})</time>', moment.isoformat(), _away(moment), exact)


def _away(moment: datetime) -> str:
    seconds = (moment - timezone.now()).total_seconds()
    if seconds < 60:
        return "due now"
    if seconds < 3600:
        return f"in {seconds / 60:.0f} min"
    return f"in {seconds / 3600:.0f} h" if seconds < 2 * 86400 else f"in {seconds / 86400:.0f} days"


@register.filter
def on_clock(moment: datetime) -> str:
    """A local time as it stands there, which the template engine would turn into UTC."""
    return f"{moment:%a %Y-%m-%d %H:%M %Z}"
