"""What a job may ask for: options that cannot be smuggled in, and places that this machine names (law 8)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from agents.daemon.configuration import Configuration, Restore
from agents.daemon.configuration_file import Loaded
from agents.daemon.job_plan import make_target, plan_backup, plan_restore, restore_target
from agents.errors import Refused

JOB = bytes(range(16))
FILE = Path("/job.json")


def loaded(**restore: Any) -> Loaded:
    return Loaded(Configuration(restore=Restore(**restore)))


def test_settings_become_options_and_values_stay_values():
    settings = {
        "selection.sources": ["/home", "/--help"],
        "selection.exclude": ["*.tmp", "--force-read"],
        "selection.include": ["keep.tmp"],
        "selection.default_exclusions": False,
        "selection.one_file_system": True,
        "selection.cache_dir_tags": True,
        "selection.max_file_size": 5,
        "selection.max_file_age_days": 7,
        "selection.chunker": "fine",
    }
    (command,) = plan_backup({"settings": settings}, FILE).commands
    assert command[command.index("--") :] == ["--", "/home", "/--help"]
    for option in (
        "--exclude=*.tmp", "--exclude=--force-read", "--include=keep.tmp", "--no-default-exclusions",
        "--one-file-system", "--cache-dir-tags", "--max-size=5", "--max-age=7", "--chunker=fine",
    ):  # fmt: skip
        assert option in command
    assert "--force-read" not in command


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"selection.sources": []},
        {"selection.sources": "/home"},
        {"selection.sources": ["relative"]},
        {"selection.sources": ["/a\0b"]},
        {"selection.sources": ["/a"], "selection.exclude": [1]},
    ],
)
def test_descriptions_that_make_no_sense_are_refused(settings: dict):
    with pytest.raises(Refused):
        plan_backup({"settings": settings}, FILE)


def test_restores_go_into_a_fresh_directory_of_the_home_unless_a_folder_is_named(tmp_path: Path):
    assert restore_target("", JOB, tmp_path, loaded()) == tmp_path / "restores" / JOB.hex()
    desk = loaded(folders={"desk": str(tmp_path / "desk")})
    assert restore_target("desk", JOB, tmp_path, desk) == tmp_path / "desk" / f"strongroom-{JOB.hex()}"


@pytest.mark.parametrize("into", ["other", "/etc", "desk/..", "../desk", "desk/", "DESK"])
def test_folders_that_the_machine_does_not_name_are_refused(tmp_path: Path, into: str):
    with pytest.raises(Refused, match="has no restore folder"):
        restore_target(into, JOB, tmp_path, loaded(folders={"desk": str(tmp_path / "desk")}))


def test_folders_of_a_file_that_others_can_write_are_refused(tmp_path: Path):
    configuration = Configuration(restore=Restore(folders={"desk": str(tmp_path)}))
    with pytest.raises(Refused, match="written by others"):
        restore_target("desk", JOB, tmp_path, Loaded(configuration, distrust="it can be written by others."))


def test_machine_may_take_no_restores_at_all(tmp_path: Path):
    with pytest.raises(Refused, match="takes no restores"):
        restore_target("", JOB, tmp_path, loaded(allow=False))


def test_second_attempt_gets_a_fresh_directory_and_nothing_is_ever_overwritten(tmp_path: Path):
    first = restore_target("", JOB, tmp_path, loaded())
    make_target(first, tmp_path)
    second = restore_target("", JOB, tmp_path, loaded())
    assert second.name == f"{JOB.hex()}-2"
    with pytest.raises(Refused, match="exists already"):
        make_target(first, tmp_path)
    os.symlink("/etc", second)
    with pytest.raises(Refused, match="exists already"):
        make_target(second, tmp_path)


def test_restore_commands_name_the_snapshot_the_paths_and_that_target(tmp_path: Path):
    spec = {"snapshot": "ab" * 16, "paths": ["/a", "/b"], "into": ""}
    plan = plan_restore(spec, JOB, tmp_path, loaded(), FILE)
    assert [command[-1] for command in plan.commands] == ["ab" * 16 + ":/a", "ab" * 16 + ":/b"]
    assert all(f"--target={plan.target}" in command for command in plan.commands)
    assert ["--overwrite" in command for command in plan.commands] == [False, True]


@pytest.mark.parametrize(
    "spec", [{}, {"snapshot": "latest"}, {"snapshot": "--kit"}, {"snapshot": "ab" * 16, "paths": ["relative"]}]
)
def test_restores_of_nothing_nameable_are_refused(tmp_path: Path, spec: dict):
    with pytest.raises(Refused):
        plan_restore(spec, JOB, tmp_path, loaded(), FILE)
