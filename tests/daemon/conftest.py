"""Daemons and their commands against a real gateway, PostgreSQL and TLS."""

from __future__ import annotations

from tests.end_to_end.conftest import world
from tests.gateway.fixtures import gateway_factory, running_gateway

__all__ = ["gateway_factory", "running_gateway", "world"]
