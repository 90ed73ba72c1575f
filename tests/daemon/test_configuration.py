"""agent.toml: what it may say, how mistakes are named, and that a bad file changes nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agents.daemon.configuration import ConfigurationFault, parse
from agents.daemon.configuration_file import ConfigurationFile
from agents.errors import NotFound

GOOD = """
[daemon]
log_level = "warning"

[limits]
kbit_per_second = 4000
niceness = 10
io_class = "idle"
only_on_ac = true
bandwidth = [{ days = [0, 1, 2, 3, 4], from = "08:00", until = "18:00", kbit_per_second = 1000 }]

[hooks.dump]
command = ["/usr/bin/true", "--all"]
timeout_seconds = 30

[restore]
folders = { desk = "/srv/restores" }
"""


def fault_of(text: str) -> str:
    with pytest.raises(ConfigurationFault) as caught:
        parse(text.encode(), "agent.toml")
    return caught.value.what


def test_every_setting_is_read():
    said = parse(GOOD.encode(), "agent.toml")
    assert (said.daemon.log_level, said.daemon.accept_jobs) == ("warning", True)
    assert (said.limits.kbit_per_second, said.limits.niceness, said.limits.io_class) == (4000, 10, "idle")
    window = said.limits.bandwidth[0]
    assert (window.days, window.start, window.until, window.kbit_per_second) == (
        (0, 1, 2, 3, 4),
        "08:00",
        "18:00",
        1000,
    )
    assert said.hooks["dump"].command == ("/usr/bin/true", "--all")
    assert said.restore.folders == {"desk": "/srv/restores"}


def test_empty_file_is_the_defaults():
    assert parse(b"", "agent.toml").limits.kbit_per_second is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[daemon\n", ["not TOML", "line 1", "column 8"]),
        ("a = 1\na = 2\n", ["not TOML", "line 2"]),
        ("[limits]\nbandwith = 3\n", ["'limits.bandwith'", "Did you mean 'limits.bandwidth'?"]),
        ("[limts]\n", ["'limts'", "Did you mean 'limits'?"]),
        ("[hooks.dump]\ncomand = ['/bin/x']\n", ["'hooks.dump.comand'", "Did you mean 'hooks.dump.command'?"]),
        (
            "[[limits.bandwidth]]\nform = '08:00'\n",
            ["'limits.bandwidth.form'", "Did you mean 'limits.bandwidth.from'?"],
        ),
        ("[limits]\nniceness = 'low'\n", ["limits.niceness", "expected int, got str"]),
        ("[limits]\nniceness = 20\n", ["limits.niceness", "<= 19"]),
        ("[limits]\nkbit_per_second = 0\n", ["limits.kbit_per_second", ">= 1"]),
        ("[hooks.dump]\n", ["hooks", "lacks command"]),
        ("[hooks.dump]\ncommand = 'pg_dump'\n", ["expected array, got str"]),
        ("[hooks.dump]\ncommand = ['pg_dump']\n", ["'pg_dump'", "no absolute path"]),
        ("[hooks.'a/b']\ncommand = ['/bin/x']\n", ["hooks"]),
        ("[restore]\nfolders = { a = 'relative' }\n", ["restore.folders"]),
        ("[restore]\nfolders = { a = '/srv/../etc' }\n", ["restore.folders.a", "'..'"]),
        ("[[limits.bandwidth]]\nfrom = '25:00'\n", ["limits.bandwidth"]),
        ("[[limits.bandwidth]]\nfrom = '08:00'\nuntil = '08:00'\n", ["begins and ends at 08:00"]),
    ],
)
def test_mistakes_are_named(text: str, words: list[str]):
    said = fault_of(text)
    for word in words:
        assert word in said, said


def test_file_that_is_no_text_is_refused():
    with pytest.raises(ConfigurationFault, match="not UTF-8"):
        parse(b"\xff\xfe", "agent.toml")


def look_until_settled(file: ConfigurationFile) -> bool:
    return any([file.refresh(), file.refresh()])


def test_bad_file_is_reported_and_the_old_configuration_stays_in_force(tmp_path: Path):
    file = ConfigurationFile(tmp_path)
    file.path.write_text("[limits]\nniceness = 5\n")
    assert file.refresh()
    file.path.write_text("[limits]\nnicenes = 7\n")
    assert look_until_settled(file)
    assert file.loaded.configuration.limits.niceness == 5
    assert file.fault is not None
    assert "nicenes" in file.fault.what
    file.path.write_text("[limits]\nniceness = 9\n")
    assert look_until_settled(file)
    assert file.loaded.configuration.limits.niceness == 9
    assert file.fault is None


def test_half_written_file_is_not_taken_while_it_grows(tmp_path: Path):
    file = ConfigurationFile(tmp_path)
    file.path.write_text(GOOD)
    file.refresh()
    file.path.write_text("")
    assert not file.refresh()
    file.path.write_text(GOOD.replace("niceness = 10", "niceness = 11"))
    assert not file.refresh()
    assert file.loaded.configuration.limits.niceness == 10
    assert file.refresh()
    assert file.loaded.configuration.limits.niceness == 11


def test_file_that_is_replaced_is_noticed(tmp_path: Path):
    file = ConfigurationFile(tmp_path)
    file.refresh()
    (tmp_path / "new").write_text("[limits]\nniceness = 3\n")
    (tmp_path / "new").rename(file.path)
    assert look_until_settled(file)
    assert file.loaded.configuration.limits.niceness == 3


def test_daemon_that_starts_with_a_bad_file_keeps_what_was_in_force(tmp_path: Path):
    first = ConfigurationFile(tmp_path)
    first.path.write_text("[limits]\nniceness = 5\n")
    first.refresh()
    first.path.write_text("[limits\n")
    second = ConfigurationFile(tmp_path)
    assert second.refresh()
    assert second.fault is not None
    assert second.loaded.configuration.limits.niceness == 5


def test_rollback_undoes_a_bad_file_and_a_good_one(tmp_path: Path):
    file = ConfigurationFile(tmp_path)
    with pytest.raises(NotFound):
        file.rollback()
    for niceness in (5, 6):
        file.path.write_text(f"[limits]\nniceness = {niceness}\n")
        look_until_settled(file)
    file.path.write_text("[limits\n")
    file.rollback()
    assert file.path.read_text() == "[limits]\nniceness = 6\n"
    file.rollback()
    assert file.path.read_text() == "[limits]\nniceness = 5\n"
    assert file.path.stat().st_mode & 0o777 == 0o600


def test_file_that_others_can_write_is_read_but_not_trusted(tmp_path: Path):
    file = ConfigurationFile(tmp_path)
    file.path.write_text(GOOD)
    file.path.chmod(0o664)
    file.refresh()
    assert file.loaded.configuration.limits.niceness == 10
    assert "written by others (mode 0664)" in file.loaded.distrust
    file.path.chmod(0o600)
    assert look_until_settled(file)
    assert file.loaded.distrust == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_file_of_another_user_is_not_trusted(tmp_path: Path):
    file = ConfigurationFile(tmp_path)
    file.path.write_text(GOOD)
    os.chown(file.path, 12345, 12345)
    file.refresh()
    assert "belongs to the user 12345" in file.loaded.distrust


def test_what_is_no_file_is_named(tmp_path: Path):
    os.mkfifo(tmp_path / "agent.toml")
    file = ConfigurationFile(tmp_path)
    file.refresh()
    assert file.fault is not None
    assert "is not a file" in file.fault.what
