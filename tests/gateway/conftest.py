"""The gateway's tests: real TLS on loopback, real PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gateway.fixtures import gateway_factory, running_gateway
from tests.gateway.stage import Stage

__all__ = ["gateway_factory", "running_gateway"]


@pytest.fixture
def stage(transactional_db, strongroom_home, tmp_path: Path) -> Stage:
    """A tenant with a vault; machines are made as needed."""
    return Stage(tmp_path / "machines")
