"""The pages of upkeep."""

from . import scrub_pages  # noqa: F401 - it registers its pages
