"""From samples to cells, table and files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import peers, run
from benchmarks.goals import CORPORA, GOALS
from benchmarks.measuring import Sample
from benchmarks.results import Results, cell, save, table, verdict


def sample(wall: float, size: float | None = None) -> Sample:
    return Sample(wall, 2 * wall, 100.0, more={} if size is None else {"size": size})


@pytest.fixture
def results() -> Results:
    made = Results(versions={"restic": "0.14.0"})
    for run_number, (ours, restic) in enumerate([(1.0, 10.0), (9.0, 20.0), (3.0, 12.0)]):
        made.add("ours", "code", "full", run_number, sample(ours, 70))
        made.add("restic", "code", "full", run_number, sample(restic, 100))
    made.add("ours", "start", "unchanged", 0, sample(0.4))
    return made


def find(results: Results, corpus: str, step: str, figure: str) -> dict:
    return next(c for c in results.cells() if (c["corpus"], c["step"], c["figure"]) == (corpus, step, figure))


def test_medians_are_divided(results: Results) -> None:
    found = find(results, "code", "full", "wall")
    assert (found["ours"], found["peer"], found["ratio"], found["goal"]) == (3.0, 12.0, 0.25, 0.4)
    assert verdict(found) == "met"


def test_missed_goal_says_by_how_much() -> None:
    assert verdict(cell("code", "full", "wall", 6.0, 10.0, GOALS["code", "full", "wall"])) == "MISSED by 50 %"


def test_bound_in_the_figures_own_unit_is_compared_with_ours(results: Results) -> None:
    found = find(results, "start", "unchanged", "wall")
    assert (found["peer"], found["ratio"], found["goal"]) == (None, None, 0.35)
    assert verdict(found) == "MISSED by 14 %"
    memory = find(results, "code", "full", "rss")
    assert (memory["peer"], memory["goal"], verdict(memory)) == (None, 300, "met")


def test_missing_peer_is_never_a_goal_met() -> None:
    found = cell("code", "full", "wall", 1.0, None, GOALS["code", "full", "wall"])
    assert found["ratio"] is None
    assert verdict(found) == "no peer"


def test_latest_has_the_shape_that_scripts_know(results: Results, tmp_path: Path) -> None:
    latest = json.loads(save(results, tmp_path).read_text())
    assert set(latest) == {"cells", "peers"}
    assert latest["peers"] == {"restic": "0.14.0"}
    for found in latest["cells"]:
        assert list(found) == ["corpus", "step", "figure", "ours", "peer", "ratio", "goal"]
        assert found["figure"] in {"wall", "cpu", "rss", "size"}
    detail = json.loads((tmp_path / "latest-detail.json").read_text())
    assert len(detail["records"]) == 7


def test_table_has_a_row_for_each_cell_and_names_the_missed(results: Results) -> None:
    lines = table(results, ["borg"]).splitlines()
    assert len(lines) == 2 + len(results.cells())
    assert len({line.count("|") for line in lines}) == 1
    assert "MISSED" in next(line for line in lines if line.startswith("| start"))


def test_every_goal_of_a_step_exists_for_every_corpus() -> None:
    steps = {(step, figure) for corpus, step, figure in GOALS if corpus in CORPORA}
    assert all((corpus, *key) in GOALS for corpus in CORPORA for key in steps)


def test_peer_that_is_not_installed_is_said_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda program: None if program == "rclone" else f"/bin/{program}")
    monkeypatch.setattr(peers, "version_of", lambda program: "1.2.4")
    usable, versions, missing = peers.find_peers(["restic", "borg"])
    assert usable == ["borg"]
    assert versions == {"borg": "1.2.4"}
    assert missing == ["restic is not measured: rclone not installed."]


def test_unknown_corpus_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["run", "--corpora", "code,coed"])
    with pytest.raises(SystemExit) as stopped:
        run.read_options()
    assert stopped.value.code == 2
    assert "coed" in capsys.readouterr().err
