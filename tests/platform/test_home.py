"""A home is ours or it is refused, in a sentence; what is missing is never made anew."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
from pathlib import Path

import pytest

from backup_platform.embedded.errors import AlreadyRunning, HomeUnusable, NotRunning
from backup_platform.embedded.home import check_free_space, open_home
from backup_platform.embedded.locks import is_locked, lock_home, wait_for_predecessors
from backup_platform.embedded.run_record import running_environment, write_run_record
from backup_platform.embedded.server_account import ServerAccount, find_account

OURSELVES = ServerAccount(None, None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home"


def test_same_home_opens_with_same_secrets(path: Path) -> None:
    first = open_home(path, OURSELVES)
    assert open_home(path, OURSELVES) == first
    assert len(first.secret("django-key")) >= 60
    assert first.secret("valkey") != first.secret("database-owner")


def test_secrets_are_closed_to_others(path: Path) -> None:
    home = open_home(path, OURSELVES)
    assert stat.S_IMODE((path / "secrets").stat().st_mode) == 0o700
    modes = {stat.S_IMODE(file.stat().st_mode) for file in (path / "secrets").iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE((path / "instance.json").stat().st_mode) == 0o600
    assert home.secret("valkey") not in repr(home)


def test_directory_with_foreign_files_is_refused_and_left_alone(path: Path) -> None:
    path.mkdir()
    (path / "letters").mkdir()
    with pytest.raises(HomeUnusable, match=r"is not empty \(it holds letters\)"):
        open_home(path, OURSELVES)
    assert [entry.name for entry in path.iterdir()] == ["letters"]


def test_home_without_its_description_is_refused_instead_of_made_anew(path: Path) -> None:
    open_home(path, OURSELVES)
    (path / "instance.json").unlink()
    with pytest.raises(HomeUnusable, match=r"no instance\.json"):
        open_home(path, OURSELVES)


def test_missing_data_directory_is_reported_instead_of_made_anew(path: Path) -> None:
    home = open_home(path, OURSELVES)
    home.servers.rename(path / "elsewhere")
    with pytest.raises(HomeUnusable, match="missing"):
        open_home(path, OURSELVES)
    assert not home.servers.exists()


def test_missing_secret_is_reported_instead_of_made_anew(path: Path) -> None:
    open_home(path, OURSELVES)
    (path / "secrets" / "valkey").unlink()
    with pytest.raises(HomeUnusable, match="cannot be read"):
        open_home(path, OURSELVES).secret("valkey")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_home_of_another_user_is_refused(path: Path) -> None:
    path.mkdir()
    os.chown(path, 65534, 65534)
    with pytest.raises(HomeUnusable, match="belongs to user 65534"):
        open_home(path, OURSELVES)


def test_file_in_place_of_the_home_is_refused(path: Path) -> None:
    path.write_text("not a directory")
    with pytest.raises(HomeUnusable, match="cannot be made"):
        open_home(path, OURSELVES)


def test_full_disk_is_named_before_anything_starts(path: Path) -> None:
    home = open_home(path, OURSELVES)
    with pytest.raises(HomeUnusable, match=r"is full: \d+ MB are free"):
        check_free_space(home, at_least=2**62)


@pytest.mark.skipif(os.geteuid() != 0, reason="as an ordinary user the servers run as that user")
def test_servers_data_moves_out_of_a_checkout_that_their_account_cannot_enter(
    path: Path, tmp_path: Path, monkeypatch
) -> None:
    outside = tmp_path / "outside"
    monkeypatch.setattr("backup_platform.embedded.home.OUTSIDE_ROOT", outside)
    path.mkdir(mode=0o700)
    home = open_home(path, find_account())
    assert home.servers == outside / home.instance.id
    assert open_home(path, find_account()).servers == home.servers


def test_second_lock_names_the_holder(path: Path) -> None:
    open_home(path, OURSELVES)
    with lock_home(path), pytest.raises(AlreadyRunning, match=rf"already runs in .*process {os.getpid()}"):
        lock_home(path)
    assert not is_locked(path)
    lock_home(path).close()


def test_start_waits_for_what_a_killed_predecessor_left_running(path: Path) -> None:
    open_home(path, OURSELVES)
    lock = asyncio.run(wait_for_predecessors(path))
    with subprocess.Popen(["sleep", "60"], pass_fds=[lock.fileno()]) as left:
        lock.close()
        with pytest.raises(AlreadyRunning, match="Processes of an earlier `up` still run"):
            asyncio.run(wait_for_predecessors(path, seconds=0.2))
        left.kill()
    asyncio.run(wait_for_predecessors(path, seconds=5)).close()


def test_commands_find_the_running_instance_and_nothing_else(path: Path) -> None:
    open_home(path, OURSELVES)
    with pytest.raises(NotRunning, match="No Strongroom runs"):
        running_environment(path)
    with lock_home(path):
        with pytest.raises(NotRunning, match="still starting"):
            running_environment(path)
        write_run_record(path, {"DATABASE_URL": "postgresql:///x"})
        assert running_environment(path) == {"DATABASE_URL": "postgresql:///x"}
    with pytest.raises(NotRunning, match="No Strongroom runs"):
        running_environment(path)
