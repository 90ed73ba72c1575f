"""`strongroom drill` against a real gateway: what is sound is tried and thrown away, what is rotten is said."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from agents.engine import drilling
from agents.engine.restoring import Restorer
from agents.errors import Disconnected
from agents.state import AgentHome
from tests.end_to_end.stage import Agent, World

pytestmark = pytest.mark.django_db(transaction=True)
MIB = 1 << 20


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Sixty small files, an empty one, one that only its owner may read, and three of a megabyte."""
    top = tmp_path / "source"
    (top / "deep/er").mkdir(parents=True)
    chance = random.Random(5)
    for number in range(60):
        (top / "deep/er" / f"small-{number:02}").write_bytes(chance.randbytes(2_000))
    (top / "empty").write_bytes(b"")
    (top / "closed").write_bytes(b"closed")
    (top / "closed").chmod(0o400)
    for number in range(3):
        (top / f"large-{number}").write_bytes(chance.randbytes(MIB))
    return top


@pytest.fixture
def agent(world: World, source: Path) -> Agent:
    agent = world.agent()
    assert agent.run("backup", source, "--no-wait").code == 0
    return agent


def leftovers(agent: Agent) -> list[Path]:
    return list(agent.home.glob("drills*"))


def rot(world: World) -> None:
    """Flip a bit in the middle of every megabyte of every pack, where only large files lie."""
    for pack in world.gateway.home.rglob("*.pack"):
        with pack.open("r+b") as file:
            for place in range(MIB // 2, pack.stat().st_size - MIB // 4, MIB // 2):
                file.seek(place)
                byte = file.read(1)
                file.seek(place)
                file.write(bytes([byte[0] ^ 1]))


def test_sound_snapshot_is_tried_whole_and_nothing_stays(agent: Agent):
    said = agent.json("drill", "--files", "1000")
    assert said.code == 0, said
    summary = said.summary
    assert (summary["files"], summary["faults"], summary["damaged"], summary["differ"]) == (65, 0, 0, 0)
    assert summary["bytes"] == 60 * 2_000 + 6 + 3 * MIB
    assert summary["compared"] == 65
    assert summary["in_part"] == 0
    assert not leftovers(agent)


def test_sample_is_bounded_and_large_files_are_tried_in_part(agent: Agent):
    said = agent.json("drill", "--files", "7")
    assert said.code == 0, said
    assert said.summary["files"] == 7
    small = agent.json("drill", "--files", "1000", "--mib", "1")
    assert small.code == 0, small
    assert small.summary["in_part"] > 0 or small.summary["bytes"] >= 60 * 2_000
    assert small.summary["bytes"] <= MIB + drilling.MOST_PROBED * 4 * MIB


def test_scratch_never_holds_more_than_one_file(agent: Agent, monkeypatch: pytest.MonkeyPatch):
    seen: list[int] = []
    run = Restorer.run

    def counting(restorer: Restorer):
        result = run(restorer)
        seen.append(sum(len(files) for _, _, files in os.walk(agent.home / "drills")))
        return result

    monkeypatch.setattr(Restorer, "run", counting)
    assert agent.run("drill", "--files", "20").code == 0
    assert len(seen) > 10
    assert set(seen) == {1}


def test_rotten_chunk_fails_the_drill_and_is_named_here(world: World, agent: Agent):
    rot(world)
    said = agent.json("drill", "--files", "1000")
    assert said.code == 20, said
    assert said.summary["damaged"] >= 1
    named = [record["path"] for record in said.records if record["message_type"] == "error"]
    assert any("large-" in path for path in named)
    assert not leftovers(agent)


def test_what_a_restore_has_written_is_read_back(agent: Agent, monkeypatch: pytest.MonkeyPatch):
    run = Restorer.run

    def spoiling(restorer: Restorer):
        result = run(restorer)
        for path in (agent.home / "drills").rglob("small-*"):
            path.write_bytes(b"z" * path.stat().st_size)
        return result

    monkeypatch.setattr(Restorer, "run", spoiling)
    said = agent.json("drill", "--files", "1000")
    assert said.code == 3, said
    assert (said.summary["files"], said.summary["faults"], said.summary["damaged"]) == (5, 60, 0)


def test_scratch_is_gone_after_a_drill_that_was_cut_off(agent: Agent, monkeypatch: pytest.MonkeyPatch):
    def cut_off(drill, drawn, left, scratch):
        scratch.mkdir()
        (scratch / "half").write_bytes(b"half a file")
        raise Disconnected("The line is cut.")

    monkeypatch.setattr(drilling.Drill, "_try", cut_off)
    assert agent.run("drill").code == 5
    assert not list(agent.home.glob("drills"))


def test_what_a_killed_drill_left_is_removed_by_the_next(agent: Agent):
    left = agent.home / "drills/3/home"
    left.mkdir(parents=True)
    (left / "letter").write_text("private")
    assert agent.run("drill", "--files", "2").code == 0
    assert not (agent.home / "drills").exists()


def test_second_drill_of_a_home_waits_its_turn(agent: Agent):
    with AgentHome(agent.home).locked("drill.lock"):
        said = agent.run("drill")
    assert said.code == 5
    assert "Another strongroom process" in said.err


def test_file_that_changed_without_its_time_is_told_and_is_no_damage(agent: Agent, source: Path):
    victim = source / "deep/er/small-07"
    times = victim.stat()
    victim.write_bytes(b"x" * times.st_size)
    os.utime(victim, ns=(times.st_atime_ns, times.st_mtime_ns))
    said = agent.json("drill", "--files", "1000")
    assert said.code == 3, said
    assert (said.summary["differ"], said.summary["faults"]) == (1, 0)


def test_file_that_was_changed_or_removed_since_is_still_proved(agent: Agent, source: Path):
    (source / "deep/er/small-01").write_bytes(b"another content")
    (source / "deep/er/small-02").unlink()
    said = agent.json("drill", "--files", "1000")
    assert said.code == 0, said
    assert (said.summary["files"], said.summary["differ"]) == (65, 0)
    assert said.summary["compared"] <= 63


def test_write_only_machine_says_plainly_that_it_cannot(world: World, source: Path):
    writer = world.agent("writer", write_only=True)
    assert writer.run("backup", source, "--no-wait").code == 0
    said = writer.run("drill")
    assert said.code == 4
    assert "write-only" in said.err
    with_kit = world.agent("beta").json("drill", "--kit", world.kit_directory, "--machine", "writer", "--files", "5")
    assert with_kit.code == 0, with_kit
    assert (with_kit.summary["files"], with_kit.summary["compared"]) == (5, 0)


def test_machine_that_is_not_enrolled_gets_no_home_by_drilling(tmp_path: Path):
    agent = Agent(tmp_path / "nowhere")
    assert agent.run("drill").code == 4
    assert not agent.home.exists()
