"""The servers of the test run are the ones of the embedded platform, so what holds here holds there."""

from __future__ import annotations

import os
import stat

import psycopg
import pytest
import redis

from tests.servers import PASSWORDS, Servers


def test_postgres_refuses_a_wrong_password(servers: Servers) -> None:
    url = servers.database_url("strongroom").replace(PASSWORDS.application, "guessed")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(url, connect_timeout=5)


def test_valkey_refuses_a_client_without_its_password(servers: Servers) -> None:
    url = servers.valkey_url.replace(":tests-valkey@", "")
    with pytest.raises(redis.AuthenticationError):
        redis.Redis.from_url(url, socket_timeout=5).ping()


def test_sockets_stand_in_a_directory_that_is_closed_to_others(servers: Servers) -> None:
    assert stat.S_IMODE(os.stat(servers.sockets).st_mode) == 0o700


def test_data_checksums_are_on_and_nothing_listens_on_tcp(servers: Servers) -> None:
    with psycopg.connect(servers.database_url("strongroom"), connect_timeout=5) as connection:
        assert connection.execute("SHOW data_checksums").fetchone() == ("on",)
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)


def test_application_role_cannot_change_the_schema(servers: Servers) -> None:
    with (
        psycopg.connect(servers.database_url("strongroom"), connect_timeout=5) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("CREATE TABLE intruder (id int)")
