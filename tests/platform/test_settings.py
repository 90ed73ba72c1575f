"""Settings come from the environment, say what is missing, and never repeat a secret."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from django.core.exceptions import ImproperlyConfigured

from backup_platform.settings.environment import (
    broker_from_redis_url,
    connection_patience,
    database_from_url,
    read_setting,
    session_options,
)
from tests.servers import Servers

REPOSITORY = Path(__file__).resolve().parents[2]


def test_secret_file_wins_over_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("from the file\n")
    monkeypatch.setenv("THING", "from the variable")
    monkeypatch.setenv("THING_FILE", str(tmp_path / "secret"))
    assert read_setting("THING") == "from the file"


def test_missing_setting_is_named_with_both_ways_to_give_it() -> None:
    with pytest.raises(ImproperlyConfigured, match="Set THING, or THING_FILE"):
        read_setting("THING")


def test_database_url_knows_sockets_hosts_and_options() -> None:
    socket = database_from_url("postgresql://app:p%40ss@/strongroom?host=%2Frun%2Fpg&port=5432")
    assert (socket["HOST"], socket["PORT"], socket["PASSWORD"], socket["OPTIONS"]) == ("/run/pg", "5432", "p@ss", {})
    tcp = database_from_url("postgres://app@db.internal:6432/strongroom?sslmode=verify-full")
    assert (tcp["HOST"], tcp["PORT"], tcp["OPTIONS"]) == ("db.internal", "6432", {"sslmode": "verify-full"})


def test_other_database_engines_are_refused_without_repeating_the_url() -> None:
    with pytest.raises(ImproperlyConfigured) as refusal:
        database_from_url("mysql://app:hunter2@db/x")
    assert "hunter2" not in str(refusal.value)


def test_socket_broker_is_spelt_as_kombu_wants_it() -> None:
    assert broker_from_redis_url("unix://:pw@/run/v.sock?db=0") == "redis+socket://:pw@/run/v.sock?virtual_host=0"
    assert broker_from_redis_url("rediss://:pw@host:6380/0") == "rediss://:pw@host:6380/0"


def run_check(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "manage.py", "check", "--deploy", "--tag", "security", "--fail-level", "WARNING"]
    base = {"PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "backup_platform.settings.production"}
    return subprocess.run(
        command, cwd=REPOSITORY, env=base | environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_production_passes_djangos_own_deployment_check() -> None:
    finished = run_check(
        {
            "DJANGO_SECRET_KEY": "x7Kq-9" * 12,
            "DATABASE_URL": "postgresql://app:pw@db/strongroom",
            "REDIS_URL": "redis://:pw@redis/0",
            "STRONGROOM_ALLOWED_HOSTS": "backup.example.org",
        }
    )
    assert finished.returncode == 0, finished.stderr


def test_production_without_a_secret_key_says_what_to_set() -> None:
    finished = run_check({"DATABASE_URL": "postgresql://app:pw@db/strongroom"})
    assert finished.returncode != 0
    assert "Set DJANGO_SECRET_KEY" in finished.stderr


@pytest.mark.defence
def test_role_that_was_set_to_commit_asynchronously_is_overruled(servers: Servers) -> None:
    url = servers.database_url("strongroom")
    with psycopg.connect(url, autocommit=True) as before:
        before.execute("ALTER ROLE strongroom_app SET synchronous_commit = off")
        try:
            with psycopg.connect(url, **connection_patience(), options=session_options({})) as ours:
                assert ours.execute("SHOW synchronous_commit").fetchone() == ("on",)
        finally:
            before.execute("ALTER ROLE strongroom_app RESET synchronous_commit")


def test_database_that_vanishes_is_not_waited_for_without_end() -> None:
    patience = connection_patience()
    idle = int(patience["keepalives_idle"]) + int(patience["keepalives_interval"]) * int(patience["keepalives_count"])
    assert idle <= 30
    assert int(patience["tcp_user_timeout"]) <= 30_000
    assert int(patience["connect_timeout"]) <= 10
