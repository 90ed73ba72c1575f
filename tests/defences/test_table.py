"""The table: its rows are sound, and the page shows them."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.defences.__main__ import share_of
from tests.defences.document import write_table
from tests.defences.rows import ROWS

REPOSITORY = Path(__file__).resolve().parent.parent.parent
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
