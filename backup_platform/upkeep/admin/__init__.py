"""The pages of upkeep."""

from . import reclaim_pages, scrub_pages  # noqa: F401 - they register their pages
