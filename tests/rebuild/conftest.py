"""A platform with two machines and three snapshots, all verified; and what is left of it when it is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end_to_end.conftest import gateway_factory, running_gateway, world
from tests.end_to_end.stage import World
from tests.rebuild.stage import Aftermath, Ruins, empty_database, make_aftermath, take_away

__all__ = ["gateway_factory", "running_gateway", "world"]

KEPT: list[Ruins] = []


@pytest.fixture
def aftermath(world: World, tmp_path: Path) -> Aftermath:
    """The platform is there, and everything is verified and in its store."""
    return make_aftermath(world, tmp_path)


@pytest.fixture
def ruins(
    request: pytest.FixtureRequest,
    transactional_db: None,
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
    settings,
) -> Ruins:
    """Database and home are gone: only a copy of the store, the kit and the machines are left; the home is a new one.

    Made once, copied for each test.
    """
    if not KEPT:
        KEPT.append(take_away(request.getfixturevalue("aftermath"), tmp_path_factory.mktemp("ruins")))
        empty_database()
    ruins = KEPT[0].copied_to(tmp_path / "left")
    ruins.home.mkdir(mode=0o700)
    settings.STRONGROOM_HOME = ruins.home
    return ruins
