"""One platform for the whole directory: its start takes longer than most of the faults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.proxy import Proxy
from tests.faults.stage import Machine, Stage, running_stage
from tests.gateway.fixtures import gateway_factory

__all__ = ["gateway_factory"]


@pytest.fixture(scope="package")
def stage() -> Iterator[Stage]:
    """A real platform with a tenant, a vault and its kit."""
    with running_stage() as stage:
        yield stage


@pytest.fixture(scope="package")
def machine(stage: Stage) -> Machine:
    """The machine that most tests back up; each from a directory of its own."""
    return stage.machine("alpha")


@pytest.fixture
def proxy(stage: Stage, machine: Machine) -> Iterator[Proxy]:
    """A proxy before the platform's gateway; the machine dials it for the length of the test."""
    with Proxy(stage.gateway).running() as proxy:
        machine.dial("127.0.0.1", proxy.port)
        yield proxy
        machine.dial(*stage.gateway)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where to restore to."""
    return tmp_path / "target"
