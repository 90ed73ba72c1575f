"""The pages of the work list."""

from __future__ import annotations

from backup_platform.jobs.admin import job_page, other_pages

__all__ = ["job_page", "other_pages"]
