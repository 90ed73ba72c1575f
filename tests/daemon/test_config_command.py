"""`strongroom config` and `service` as people meet them."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.daemon import service_unit
from tests.end_to_end.stage import Agent


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    (tmp_path / "home").mkdir()
    return Agent(tmp_path / "home")


def write(agent: Agent, text: str, mode: int = 0o600) -> Path:
    path = agent.home / "agent.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_check_says_what_is_wrong_and_where(agent: Agent):
    assert agent.run("config", "check").code == 0
    write(agent, "[limits]\nniceness = 3\n")
    assert "is good" in agent.run("config", "check").out
    write(agent, "[limits]\nnicness = 3\n")
    said = agent.run("config", "check")
    assert said.code == 2
    assert "Did you mean 'limits.niceness'?" in said.err
    write(agent, "[limits]\nniceness 3\n")
    assert "line 2, column" in agent.run("config", "check").err
    write(agent, "", 0o666)
    said = agent.run("config", "check")
    assert (said.code, "written by others" in said.out) == (2, True)


def test_a_file_can_be_checked_before_it_is_put_in_place(agent: Agent, tmp_path: Path):
    (tmp_path / "new.toml").write_text("[restore]\nallow = 1\n")
    said = agent.run("config", "check", tmp_path / "new.toml")
    assert said.code == 2
    assert "restore.allow" in said.err
    assert agent.run("config", "check", tmp_path / "none.toml").code == 10


def test_show_says_where_each_value_comes_from(agent: Agent):
    write(agent, "[limits]\nniceness = 3\n")
    records = agent.json("config", "show").records
    origins = {record["name"]: record["origin"] for record in records if record["message_type"] == "setting"}
    assert origins["limits.niceness"] == "agent.toml"
    assert origins["limits.only_on_ac"] == "default"
    assert [line.split()[0] for line in agent.run("config", "show", "--changed").out.splitlines()] == [
        "limits.niceness"
    ]


def test_rollback_without_an_earlier_file_says_so(agent: Agent):
    said = agent.run("config", "rollback")
    assert said.code == 10
    assert "no earlier good configuration" in said.err


def test_service_shows_its_unit_and_says_what_to_do_without_systemd(agent: Agent, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(service_unit, "has_systemd", lambda: False)
    assert f"STRONGROOM_AGENT_HOME={agent.home}" in agent.run("service", "install", "--print").out
    said = agent.run("service", "status")
    assert said.code == 1
    assert "systemd does not run this machine" in said.err
    assert "strongroom daemon" in said.err
    assert agent.run("service", "install").code == 4
