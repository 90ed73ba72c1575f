"""The storage benchmark's own parts: its figures are what they say they are."""

from __future__ import annotations

import argparse
import json

import pytest

from benchmarks import bench_storage, storage_lists
from benchmarks.storage_cells import cell
from benchmarks.storage_reading import forget, read_plainly, share_in_memory


def test_a_goal_is_the_most_that_a_ratio_may_be_or_the_figure_without_a_peer():
    assert bench_storage.verdict(cell("c", "s", "wall", 5.0, peer=4.0, goal=1.25)) == "met"
    assert bench_storage.verdict(cell("c", "s", "wall", 5.1, peer=4.0, goal=1.25)) == "MISSED"
    assert bench_storage.verdict(cell("c", "s", "wall", 0.5, goal=1.0)) == "met"
    assert bench_storage.verdict(cell("c", "s", "wall", 1.5, goal=1.0)) == "MISSED"
    assert bench_storage.verdict(cell("c", "s", "wall", 1.5)) == ""


def test_rates_are_told_of_both_and_the_one_as_a_share_of_the_other():
    assert bench_storage.rates(cell("c", "s", "wall", 5.0, peer=4.0, mib=100.0)) == "20 of 25: 80%"
    assert bench_storage.rates(cell("c", "s", "wall", 5.0, mib=100.0)) == "20"
    assert bench_storage.rates(cell("c", "s", "cpu", 5.0, peer=4.0)) == ""


def test_what_was_not_measured_again_stays_if_it_is_of_the_same_scale(tmp_path):
    given = argparse.Namespace(results=tmp_path / "storage.json", scale=1.0, runs=3, parts=["scrub"])
    bench_storage.save([{**cell("c", "scrub", "wall", 1.0), "part": "scrub"}], given, {"restic": "0.14"}, [])
    given.parts = ["upload"]
    bench_storage.save([{**cell("c", "upload", "wall", 1.0), "part": "upload"}], given, {}, ["a note"])
    kept = json.loads(given.results.read_text())
    assert [one["step"] for one in kept["cells"]] == ["scrub", "upload"]
    assert kept["peers"] == {"restic": "0.14"}
    assert kept["notes"] == ["a note"]
    given.scale = 0.02
    bench_storage.save([{**cell("c", "upload", "wall", 1.0), "part": "upload"}], given, {}, [])
    assert [one["step"] for one in json.loads(given.results.read_text())["cells"]] == ["upload"]


def test_a_file_that_was_just_read_is_in_memory_until_it_is_forgotten(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"x" * (9 << 20))
    assert read_plainly([file, file], 2) == 2 * (9 << 20)
    assert share_in_memory([file]) == 1.0
    if forget([file]) == 1.0:
        pytest.skip("this file system keeps its files in memory, which the benchmark says")
    assert share_in_memory([file]) == 0.0


def test_rows_are_counted_in_pages_and_in_answers_of_the_api():
    assert storage_lists._rows(storage_lists.Page("snapshots", "/admin/catalog/snapshot/"), b"<tr><tr>") == 2
    assert storage_lists._rows(storage_lists.Page("api", "/api/v1/snapshots/"), b'{"results": [1, 2]}') == 2
    assert storage_lists._rows(storage_lists.Page("api", "/api/v1/snapshots/"), b"<html>") == 0
