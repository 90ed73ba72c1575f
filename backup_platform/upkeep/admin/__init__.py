"""The pages of upkeep."""

from backup_platform.upkeep import reclaim_pages  # noqa: F401 - it registers its pages

from . import scrub_pages  # noqa: F401 - it registers its pages
