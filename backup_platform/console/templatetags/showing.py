"""The console's ways of showing values, for templates."""

from __future__ import annotations

from django import template

from backup_platform.console import showing

register = template.Library()
for way in (showing.size, showing.number, showing.duration, showing.ago, showing.moment, showing.ratio):
    register.filter(way.__name__, way)
