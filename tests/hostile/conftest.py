"""A real platform for hostile agents: the fixtures of the end-to-end tests."""

from __future__ import annotations

from tests.end_to_end.conftest import gateway_factory, running_gateway, world

__all__ = ["gateway_factory", "running_gateway", "world"]
