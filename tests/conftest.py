"""What every room's tests share: the servers, the database, a home, an environment for child processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from tests.servers import ServerRun, Servers

if TYPE_CHECKING:
    from backup_platform.targets.models import Target
    from tests.faulty_s3 import FaultyS3
    from tests.s3_server import S3Server

REPOSITORY = Path(__file__).resolve().parent.parent


# A time limit per example would judge the machine's load, not the code.
hypothesis_settings.register_profile("strongroom", deadline=None, suppress_health_check=[HealthCheck.too_slow])
if hypothesis_settings.get_current_profile_name() in ("default", "ci"):  # another one was chosen on purpose
    hypothesis_settings.load_profile("strongroom")


WHOLE_PROCESSES = tuple(
    f"tests/{room}" for room in ("rebuild/", "platform/", "faults/", "end_to_end/", "benchmarks/", "workers/")
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that start whole platforms come first: dealt out last, one of them leaves other cores idle for minutes."""
    items.sort(key=lambda item: not item.nodeid.startswith(WHOLE_PROCESSES))


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """Real PostgreSQL and Valkey, started at the first test that needs them; each process of xdist has its own.

    One Valkey for all would let the worker of one test take another's messages, and a FLUSHALL empty everybody's.
    """
    from django.conf import settings

    from backup_platform.settings.environment import broker_from_redis_url

    run = ServerRun()
    try:
        found = run.start()
        settings.REDIS_URL = found.valkey_url
        settings.CELERY_BROKER_URL = broker_from_redis_url(found.valkey_url)
        yield found
    finally:
        run.stop()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(servers: Servers, django_db_modify_db_settings_parallel_suffix: None) -> None:
    """pytest-django's hook, called before it makes the test database: point Django at the servers."""
    from django.db import connections

    connections["default"].settings_dict.update(servers.django_settings())


@pytest.fixture
def strongroom_home(tmp_path: Path, settings) -> Path:
    """A fresh, empty STRONGROOM_HOME, in the settings for the length of the test."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    settings.STRONGROOM_HOME = home
    return home


@pytest.fixture
def platform_environment(strongroom_home: Path, servers: Servers, django_db_setup: None) -> dict[str, str]:
    """The environment of a child process that works on the test database, as the application role.

    Use it with `transactional_db`: a child cannot see what an open transaction has not committed.
    """
    from django.db import connection

    return {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONPATH": str(REPOSITORY),
        "DJANGO_SETTINGS_MODULE": "backup_platform.settings.test",
        "STRONGROOM_HOME": str(strongroom_home),
        "DATABASE_URL": servers.database_url(connection.settings_dict["NAME"]),
        "REDIS_URL": servers.valkey_url,
        "LC_ALL": "C.UTF-8",
    }


@pytest.fixture
def application_role(db: None) -> Iterator[None]:
    """Run the test's database work with the rights that the platform has in production."""
    from django.conf import settings
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(f"SET ROLE {settings.DATABASE_APPLICATION_ROLE}")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET ROLE")


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """A real S3 server (SeaweedFS), started at the first test that needs it; each process of xdist has its own."""
    from tests.s3_server import S3Server  # the cloud's SDK takes a second to import, and few tests want it

    server = S3Server()
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def s3_target_row(db: None, s3_server: S3Server) -> Callable[..., Target]:
    """Makes rows of S3 targets that `open_store` opens, each with a bucket of its own: see tests/s3_server.py."""
    from tests.s3_server import target_rows

    return target_rows(s3_server)


@pytest.fixture
def faulty_s3(s3_server: S3Server) -> Iterator[FaultyS3]:
    """The same server behind a proxy that fails when it is told to: see tests/faulty_s3.py."""
    from tests.faulty_s3 import FaultyS3

    with FaultyS3(s3_server) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def empty_chunk_tables(request: pytest.FixtureRequest) -> Iterator[None]:
    """Django empties its models' tables after a transactional test; the chunk tables have no models."""
    marker = request.node.get_closest_marker("django_db")
    if "transactional_db" not in request.fixturenames and not (marker and marker.kwargs.get("transaction")):
        yield
        return
    request.getfixturevalue("transactional_db")
    yield
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE catalog_chunk, catalog_arrival, catalog_spare")
