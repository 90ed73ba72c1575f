"""`make defences`: take each defence away, see its test fail, print the table. Exit 1 when a removal goes unnoticed.

python -m tests.defences                  every row
python -m tests.defences aad chain        rows whose name, law or test contains one of the words
python -m tests.defences --list           the rows, without running anything
python -m tests.defences --document FILE  write the table into a page of docs, between its marks
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.defences.defence import Defence
from tests.defences.document import write_table
from tests.defences.plugin import DefencePlugin, Finding, Verdict, original_output, pytest_arguments
from tests.defences.rows import ROWS

REPOSITORY = Path(__file__).resolve().parent.parent.parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.defences", description=__doc__.split("\n")[0])
    parser.add_argument("words", nargs="*", help="only rows whose name, law or test contains one of these")
    parser.add_argument("--list", action="store_true", help="show the rows and run nothing")
    parser.add_argument("--document", type=Path, metavar="FILE", help="write the table into this page and run nothing")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes at a time (2)")
    parser.add_argument("--why", action="store_true", help="show how each test failed")
    parser.add_argument("--share", type=_share, metavar="I/N", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    rows = [row for row in ROWS if not given.words or any(word in _text(row) for word in given.words)]
    if given.document:
        given.document.write_text(write_table(given.document.read_text("utf-8"), ROWS), "utf-8")
    elif given.list:
        print("\n".join(f"{row.law:32} {row.name:40} {row.says}" for row in rows))
    elif not rows:
        print("No row of the table contains these words.")
        return 2
    elif given.share:
        return run_share(share_of(rows, *given.share), why=given.why)
    else:
        return run(rows, given.words, given.jobs, why=given.why)
    return 0


def run(rows: Sequence[Defence], words: Sequence[str], jobs: int, *, why: bool) -> int:
    """Run the rows in several processes, each with servers and test database of its own, and print the table."""
    began = time.monotonic()
    print("\n".join(_columns("verdict", "s", "law or binding", "defence", "test")), flush=True)
    options = ["--why"] if why else []
    shares = [[*options, f"--share={number}/{jobs}", *words] for number in range(jobs)]
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.defences", *share], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
        )
        for share in shares
    ]
    counted: Counter[str] = Counter()
    with ThreadPoolExecutor(jobs) as readers:
        for counts in readers.map(_pass_on, children):
            counted.update(counts)
    wanted = sum(len(row.tests) for row in rows)
    good = counted[Verdict.NOTICED] == wanted and all(child.wait() == 0 for child in children)
    said = ", ".join(f"{number} {verdict.lower()}" for verdict, number in counted.most_common()) or "nothing ran"
    print(f"defences: {len(rows)} rows, {wanted} tests: {said}; {time.monotonic() - began:.0f} s")
    if not good:
        print("defences: FAILED: a test that cannot fail is a defect, and so is a row that is out of date.")
    return 0 if good else 1


def share_of(rows: Sequence[Defence], number: int, jobs: int) -> list[Defence]:
    """The rows of one process: a test belongs to the share of its file, and files are dealt out by their weight."""
    tests = Counter(test.partition("::")[0] for row in rows for test in row.tests)
    load, share = [0] * jobs, {}
    for file, count in sorted(tests.items(), key=lambda item: (-item[1] * _weight(item[0]), item[0])):
        lightest = load.index(min(load))
        share[file] = lightest
        load[lightest] += count * _weight(file)
    mine = [
        replace(row, tests=tuple(test for test in row.tests if share[test.partition("::")[0]] == number))
        for row in rows
    ]
    return [row for row in mine if row.tests]


def _weight(file: str) -> int:
    """A test against a real gateway or with new keys takes seconds, one of a format a moment."""
    return next((weight for room, weight in WEIGHTS if file.startswith(f"tests/{room}")), 1)


WEIGHTS = (("gateway", 12), ("agent", 8), ("catalog", 4), ("fleet", 4), ("admin", 4), ("engine", 4), ("tenants", 2))


def run_share(rows: Sequence[Defence], *, why: bool) -> int:
    """Run rows in this process; each finding is a line, and after it its verdict for whoever counts."""
    if not rows:
        return 0
    os.chdir(REPOSITORY)
    out = original_output()

    def tell(finding: Finding, seconds: float) -> None:
        print(*_line(finding, seconds, why=why), f"{TALLY}{finding.verdict}", sep="\n", file=out)

    plugin = DefencePlugin(rows, tell)
    with tempfile.TemporaryDirectory(prefix="strongroom-defences-") as base:
        code = pytest.main(pytest_arguments(rows, f"{base}/runs"), plugins=[plugin])
    noticed = all(finding.verdict is Verdict.NOTICED for finding in plugin.findings)
    return 0 if noticed and code in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED) else 1


TALLY = "\x1fverdict "


def _pass_on(child: subprocess.Popen[str]) -> Counter[str]:
    """Print what a process says; return its verdicts, counted."""
    counted: Counter[str] = Counter()
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith(TALLY):
            counted[line.removeprefix(TALLY).rstrip("\n")] += 1
        else:
            print(line, end="", flush=True)
    return counted


def _share(text: str) -> tuple[int, int]:
    number, _, jobs = text.partition("/")
    return int(number), int(jobs)


def _line(finding: Finding, seconds: float, *, why: bool) -> list[str]:
    row = finding.row
    lines = _columns(finding.verdict, f"{seconds:.1f}", row.law, row.name, finding.test.removeprefix("tests/"))
    if (why or finding.verdict is not Verdict.NOTICED) and finding.text:
        lines.append(f"    {' '.join(finding.text.split())[:400]}")
    return lines


def _columns(verdict: str, seconds: str, law: str, name: str, test: str) -> list[str]:
    return [f"{verdict:15} {seconds:>5}  {law:26} {name:36} {test}"]


def _text(row: Defence) -> str:
    return " ".join((row.name, row.law, *row.tests))


if __name__ == "__main__":
    sys.exit(main())
