"""The stage of the end-to-end tests, and a real worker that moves packs from the spool to the target."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.end_to_end.conftest import gateway_factory, running_gateway, world
from tests.independent.stored import Stored, back_up_twice

__all__ = ["gateway_factory", "running_gateway", "world"]


@pytest.fixture
def worker(platform_environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A Celery worker that takes every queue, ended with the test."""
    from backup_platform.dispatch import QUEUES

    command = [sys.executable, "-m", "celery", "-A", "workers.app", "worker", "-P", "solo", "-Q", ",".join(QUEUES)]
    environment = os.environ | platform_environment
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield process
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(20)


KEPT: list[Stored] = []


@pytest.fixture
def stored(
    request: pytest.FixtureRequest, transactional_db: None, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> Stored:
    """A copy of a store as the gateway left it, packs in the spool: made once, copied for each test."""
    if not KEPT:
        world, kept = request.getfixturevalue("world"), tmp_path_factory.mktemp("independent")
        made = back_up_twice(world.agent(), world.kit_directory, kept / "source", world.gateway.home)
        shutil.copytree(made.home, kept / "home", ignore=shutil.ignore_patterns("*.sock"))
        shutil.copytree(made.kit, kept / "kit")
        KEPT.append(replace(made, home=kept / "home", kit=kept / "kit"))
    shutil.copytree(KEPT[0].home, tmp_path / "copy")
    shutil.copytree(KEPT[0].kit, tmp_path / "copy-kit")
    return replace(KEPT[0], home=tmp_path / "copy", kit=tmp_path / "copy-kit")
