from __future__ import annotations

import pytest

from backup_platform.jobs import services, sweeping


@pytest.fixture
def sent(monkeypatch) -> list[tuple[str, str, str]]:
    """What would have been sent to workers: (task, queue, job)."""
    messages: list[tuple[str, str, str]] = []

    def send(task, queue, job_id):
        messages.append((task, queue, str(job_id)))

    monkeypatch.setattr(services, "send", send)
    monkeypatch.setattr(sweeping, "send", send)
    monkeypatch.setattr(sweeping, "queue_length", lambda queue: 0)
    return messages
