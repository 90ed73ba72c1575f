"""What the agent's tests share."""

from __future__ import annotations

import pytest


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other within hundredths of a second."""
    monkeypatch.setattr("agents.transport.retrying.STEPS", (0.0, 0.01, 0.02, 0.05))
