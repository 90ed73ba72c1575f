"""`make defences`: take each defence away, see its test fail, print the table. Exit 1 when a removal goes unnoticed.

python -m tests.defences                  every row
python -m tests.defences aad chain        rows whose name, law or test contains one of the words
python -m tests.defences --list           the rows, without running anything
python -m tests.defences --document FILE  write the table into a page of docs, between its marks
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.defences.defence import Defence
from tests.defences.document import write_table
from tests.defences.plugin import DefencePlugin, Finding, Verdict, original_output, pytest_arguments
from tests.defences.rows import ROWS
from tests.defences.shares import REPOSITORY, TALLY, Pair, pairs_of, rows_of, run_to_the_end, share_of


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.defences", description=__doc__.split("\n")[0])
    parser.add_argument("words", nargs="*", help="only rows whose name, law or test contains one of these")
    parser.add_argument("--list", action="store_true", help="show the rows and run nothing")
    parser.add_argument("--document", type=Path, metavar="FILE", help="write the table into this page and run nothing")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes at a time (2)")
    parser.add_argument("--why", action="store_true", help="show how each test failed")
    parser.add_argument("--given", action="store_true", help=argparse.SUPPRESS)  # rows and tests on standard input
    given = parser.parse_args(arguments)
    rows = [row for row in ROWS if not given.words or any(word in _text(row) for word in given.words)]
    if given.document:
        given.document.write_text(write_table(given.document.read_text("utf-8"), ROWS), "utf-8")
    elif given.list:
        print("\n".join(f"{row.law:32} {row.name:40} {row.says}" for row in rows))
    elif not rows:
        print("No row of the table contains these words.")
        return 2
    elif given.given:
        return run_share(rows_of((_pair(line) for line in sys.stdin), rows), why=given.why)
    else:
        return run(rows, given.jobs, why=given.why)
    return 0


def run(rows: Sequence[Defence], jobs: int, *, why: bool) -> int:
    """Run the rows in several processes, and print the table."""
    began = time.monotonic()
    print("\n".join(_columns("verdict", "s", "law or binding", "defence", "test")), flush=True)
    command = [sys.executable, "-m", "tests.defences", "--given", *(["--why"] if why else [])]
    shares = [pairs_of(share_of(rows, number, jobs)) for number in range(jobs)]
    counted: Counter[str] = Counter()
    with ThreadPoolExecutor(jobs) as readers:
        for counts in readers.map(lambda pairs: run_to_the_end(pairs, command), shares):
            counted.update(counts)
    wanted = len(pairs_of(rows))
    good = counted[Verdict.NOTICED] == wanted
    said = ", ".join(f"{number} {verdict.lower()}" for verdict, number in counted.most_common()) or "nothing ran"
    print(f"defences: {len(rows)} rows, {wanted} tests: {said}; {time.monotonic() - began:.0f} s")
    if not good:
        print("defences: FAILED: a test that cannot fail is a defect, and so is a row that is out of date.")
    return 0 if good else 1


def run_share(rows: Sequence[Defence], *, why: bool) -> int:
    """Run rows in this process; each finding is a line, and after it its verdict for whoever counts."""
    if not rows:
        return 0
    os.chdir(REPOSITORY)
    out = original_output()

    def tell(finding: Finding, seconds: float) -> None:
        tally = "\t".join((finding.verdict, finding.row.name, finding.test))
        print(*_line(finding, seconds, why=why), f"{TALLY}{tally}", sep="\n", file=out)

    plugin = DefencePlugin(rows, tell)
    with tempfile.TemporaryDirectory(prefix="strongroom-defences-") as base:
        code = pytest.main(pytest_arguments(rows, f"{base}/runs"), plugins=[plugin])
    noticed = all(finding.verdict is Verdict.NOTICED for finding in plugin.findings)
    return 0 if noticed and code in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED) else 1


def _line(finding: Finding, seconds: float, *, why: bool) -> list[str]:
    row = finding.row
    late = f" (run {finding.run})" if finding.run > 1 else ""
    test = finding.test.removeprefix("tests/")
    lines = _columns(finding.verdict, f"{seconds:.1f}", row.law, row.name, f"{test}{late}")
    if (why or finding.verdict is not Verdict.NOTICED) and finding.text:
        lines.append(f"    {' '.join(finding.text.split())[:400]}")
    return lines


def _columns(verdict: str, seconds: str, law: str, name: str, test: str) -> list[str]:
    return [f"{verdict:15} {seconds:>5}  {law:26} {name:36} {test}"]


def _pair(line: str) -> Pair:
    name, _, test = line.rstrip("\n").partition("\t")
    return name, test


def _text(row: Defence) -> str:
    return " ".join((row.name, row.law, *row.tests))


if __name__ == "__main__":
    sys.exit(main())
