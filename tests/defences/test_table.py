"""The table: its rows are sound, and the page shows them."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

from tests.defences.document import write_table
from tests.defences.rows import ROWS
from tests.defences.shares import REPOSITORY, run_to_the_end, share_of

PAGE = REPOSITORY / "docs" / "reliability.md"


def test_every_law_has_a_row():
    assert {f"law {number}" for number in range(1, 11)} <= {row.law for row in ROWS}


def test_rows_have_names_of_their_own_and_something_to_take_away_and_to_notice():
    assert [name for name, count in Counter(row.name for row in ROWS).items() if count > 1] == []
    assert all(row.removals and row.tests and row.says.endswith(".") for row in ROWS)


def test_shares_hold_every_test_once():
    whole = [(row.name, test) for row in ROWS for test in row.tests]
    dealt = [(row.name, test) for number in range(3) for row in share_of(ROWS, number, 3) for test in row.tests]
    assert sorted(dealt) == sorted(whole)


DIES = """
import os, sys
names = [line.rstrip() for line in sys.stdin]
told = names[:1] if {leave} else names
for name in told:
    print("\x1fverdict noticed\t" + name, flush=True)
len(told) == len(names) or os.kill(os.getpid(), 9)
"""


def test_what_a_dead_process_had_not_told_of_goes_on_in_another(capfd):
    counted = run_to_the_end([("one", "a"), ("two", "b")], [sys.executable, "-c", DIES.format(leave="len(names) > 1")])
    assert counted == {"noticed": 2}
    assert "a process ended early, with -9; the last it told of was a of one; 1 are left" in capfd.readouterr().out


def test_what_never_ran_is_named_and_counted(capfd):
    pairs = [("one", "a"), ("two", "b"), ("three", "c"), ("four", "d")]
    counted = run_to_the_end(pairs, [sys.executable, "-c", DIES.format(leave=True).replace("==", ">")])
    assert counted == {"noticed": 3, "NEVER RAN": 1}
    assert "four d" in capfd.readouterr().out


def test_the_page_shows_the_table_as_it_is():
    page = PAGE.read_text("utf-8")
    assert page == write_table(page, ROWS), "run python -m tests.defences --document docs/reliability.md"


def test_what_goes_unnoticed_fails_the_run_and_is_named():
    """The whole way once, with rows that are wrong in each way that a row can be."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.defences.wrong_rows"], cwd=REPOSITORY, capture_output=True, text=True, timeout=100
    )
    verdicts = dict(line.split("  ") for line in done.stdout.splitlines() if "  " in line)
    assert verdicts == {
        "right": "noticed",
        "changes nothing": "NOT NOTICED",
        "breaks the code": "BROKE OTHERWISE",
        "fails anyway": "FAILS ANYWAY",
        "no such test": "NO SUCH TEST",
        "moved away": "OUT OF DATE",
    }, done
    assert done.returncode == 1
