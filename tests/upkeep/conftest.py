"""Fixtures of upkeep's tests: each part keeps its own in a module."""

from tests.upkeep.scrub_fixtures import scrub_vault_row, stored  # noqa: F401
