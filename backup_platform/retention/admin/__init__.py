"""The pages of holds, expired snapshots, stopped expiries, and the retention preview."""

from __future__ import annotations

from backup_platform.retention.admin import expiries, hold_pages, rule_pages, stops

__all__ = ["expiries", "hold_pages", "rule_pages", "stops"]
