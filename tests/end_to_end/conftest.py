"""Real agents against a real gateway, PostgreSQL and TLS."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end_to_end.stage import RING, World, make_world, quick_key
from tests.gateway.fixtures import RunningGateway, gateway_factory, running_gateway

__all__ = ["gateway_factory", "running_gateway"]


@pytest.fixture
def world(running_gateway: RunningGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A vault whose kit is in `world.kit_directory`, and a gateway that serves it."""
    RING.start_again()
    monkeypatch.setattr("agents.keys.rsa.generate", lambda bits=3072: quick_key())
    directory = tmp_path / "world"
    directory.mkdir()
    return make_world(directory, running_gateway)
