"""A database that may forget what it has committed is reported: tried on a real server whose settings are changed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core import checks
from django.db.utils import ConnectionHandler

from backup_platform.durability import check_durability, sentence_of, unsafe_settings
from backup_platform.embedded.postgres import SUPERUSER, Postgres
from backup_platform.embedded.server_account import find_account, reachable_binaries
from backup_platform.embedded.socket_directory import make_socket_directory, remove_socket_directory
from backup_platform.notifications import watching
from backup_platform.notifications.models import Alert
from backup_platform.settings.environment import database_from_url, session_options
from backup_platform.tenants.scope import without_tenant_scope
from tests.servers import PASSWORDS, START_SECONDS, STOP_SECONDS

pytestmark = pytest.mark.django_db

OURS = ("fsync", "full_page_writes", "synchronous_commit")


@dataclass
class OwnServer:
    """Somebody's own PostgreSQL: nothing stands on its command line that a superuser could not change."""

    postgres: Postgres

    def set(self, name: str, value: str) -> None:
        """ALTER SYSTEM, a reload, and a wait until the server has taken it."""
        with self.connect() as session:
            session.execute(f"ALTER SYSTEM SET {name} = {value}")
            session.execute("SELECT pg_reload_conf()")
        until = time.monotonic() + START_SECONDS
        while self.setting(name) != value:
            assert time.monotonic() < until, "the server did not take the setting"
            time.sleep(0.02)

    def setting(self, name: str) -> str:
        with self.connect() as session:
            return session.execute(f"SHOW {name}").fetchone()[0]

    def connect(self) -> psycopg.Connection:
        session = self.postgres.connect()
        session.autocommit = True
        return session

    def django(self, options: str = "") -> Any:
        """Django's connection to it, as the settings make one; `options` are libpq's."""
        url = self.postgres.url(SUPERUSER, PASSWORDS.superuser, "postgres")
        described = {**database_from_url(url), "OPTIONS": {"options": options}}
        return ConnectionHandler({"default": described})["default"]


@pytest.fixture(scope="module")
def own_server() -> Iterator[OwnServer]:
    """Not among pytest's directories, which the account that runs the server may not enter."""
    account = find_account()
    root = Path(tempfile.mkdtemp(prefix="strongroom-own-server-"))
    root.chmod(0o711)
    sockets = make_socket_directory(account)
    postgres = Postgres(root / "data", sockets, reachable_binaries(account, root).postgres_bin, account, PASSWORDS)
    postgres.initialise()
    command = postgres.command()
    for name in OURS:
        at = next(index for index, word in enumerate(command) if word.startswith(f"{name}="))
        del command[at - 1 : at + 1]
    with (root / "log").open("wb") as log:
        process = subprocess.Popen(command, env=postgres.environment(), cwd="/", stdin=subprocess.DEVNULL, stdout=log,
                                   stderr=log, **account.spawn_options)  # fmt: skip
    try:
        _wait(postgres, process)
        yield OwnServer(postgres)
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        remove_socket_directory(sockets)
        shutil.rmtree(root, ignore_errors=True)


def _wait(postgres: Postgres, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            return postgres.connect().close()
        except psycopg.OperationalError:
            assert process.poll() is None, "the server ended"
            assert time.monotonic() < until, "the server does not answer"
            time.sleep(0.05)


def seen(server: OwnServer, options: str = "") -> list[str]:
    connection = server.django(options)
    try:
        return unsafe_settings(connection)
    finally:
        connection.close()


@pytest.mark.parametrize("name", ["fsync", "full_page_writes"])
def test_a_server_that_is_told_to_forget_is_seen_and_so_is_its_mending(own_server, name):
    assert seen(own_server) == []
    own_server.set(name, "off")
    try:
        assert seen(own_server) == [name]
        assert seen(own_server, session_options({})) == [name], "no session of ours can overrule it"
    finally:
        own_server.set(name, "on")
    assert seen(own_server) == []


def test_commits_that_do_not_wait_are_overruled_by_our_sessions_and_seen_where_they_are_not(own_server):
    own_server.set("synchronous_commit", "off")
    try:
        assert seen(own_server) == ["synchronous_commit"]
        assert seen(own_server, session_options({})) == []
    finally:
        own_server.set("synchronous_commit", "on")


def test_commits_that_wait_for_this_disk_alone_are_no_finding(own_server):
    own_server.set("synchronous_commit", "local")
    try:
        assert seen(own_server) == []
    finally:
        own_server.set("synchronous_commit", "on")


def test_django_checks_say_it_in_words_and_what_to_do(own_server, monkeypatch):
    monkeypatch.setattr("backup_platform.durability.connections", {"default": own_server.django()})
    assert check_durability(databases=["default"]) == []
    own_server.set("fsync", "off")
    try:
        (warning,) = check_durability(databases=["default"])
    finally:
        own_server.set("fsync", "on")
    assert (warning.id, warning.is_serious(checks.ERROR)) == ("strongroom.W001", False)
    assert "fsync = off. After a power cut the catalogue may be damaged" in warning.msg
    assert "ALTER SYSTEM SET fsync = on" in warning.hint


def test_a_server_that_is_away_is_no_finding(monkeypatch):
    url = "postgresql://somebody@/nowhere?host=/nonexistent"
    away = ConnectionHandler({"default": database_from_url(url)})
    monkeypatch.setattr("backup_platform.durability.connections", away)
    assert check_durability(databases=["default"]) == []


def test_databases_that_are_not_to_be_asked_are_not_asked():
    assert check_durability(databases=None) == []


def test_the_check_belongs_to_those_of_databases():
    """The test run's own server is told to forget, for speed."""
    found = checks.run_checks(tags=[checks.Tags.database], databases=["default"])
    assert [one.id for one in found if str(one.id).startswith("strongroom.")] == ["strongroom.W001"]


def open_alerts() -> list[Alert]:
    with without_tenant_scope("tests"):
        return list(Alert.objects.filter(subject="database", resolved_at=None))


@pytest.mark.defence
def test_the_platforms_staff_is_told_until_it_is_mended(monkeypatch):
    watching.watch()
    assert len(open_alerts()) == 1
    (alert,) = open_alerts()
    assert (alert.tenant_id, alert.get_level_display()) == (None, "Error")
    assert alert.text == sentence_of(["fsync", "full_page_writes"])
    assert "ALTER SYSTEM" in alert.advice
    watching.watch()
    assert [one.pk for one in open_alerts()] == [alert.pk]
    monkeypatch.setattr("backup_platform.notifications.platform_rules.unsafe_settings", lambda connection: [])
    watching.watch()
    assert open_alerts() == []


def test_readyz_names_the_settings_and_stays_ready(client):
    part = client.get("/readyz").json()["parts"]["database"]
    assert part == {"ok": True, "detail": "answers, but fsync, full_page_writes should be on"}


def test_texts_fit_into_an_alert():
    from backup_platform.durability import ADVICE
    from backup_platform.notifications.services import MAX_TEXT

    assert len(sentence_of(OURS)) <= MAX_TEXT
    assert len(ADVICE) <= MAX_TEXT
