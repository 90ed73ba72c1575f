"""Dealing the table out to processes, each with servers and test database of its own, and hearing them to the end.

A removed defence may end the very process that runs without it. What that process had not told of by then goes on in
another one, and the early end is said.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from tests.defences.defence import Defence
from tests.defences.plugin import Verdict

REPOSITORY = Path(__file__).resolve().parent.parent.parent
TALLY = "\x1fverdict "
PROCESSES = 3
"""How many processes a share may use up until its rest counts as never run."""
WEIGHTS = (("gateway", 12), ("agent", 8), ("catalog", 4), ("fleet", 4), ("admin", 4), ("engine", 4), ("tenants", 2))

Pair = tuple[str, str]
"""A row's name, and one of its tests."""


def pairs_of(rows: Iterable[Defence]) -> list[Pair]:
    return [(row.name, test) for row in rows for test in row.tests]


def rows_of(pairs: Iterable[Pair], rows: Iterable[Defence]) -> list[Defence]:
    """The rows with only those of their tests that are named."""
    wanted = set(pairs)
    chosen = [replace(row, tests=tuple(test for test in row.tests if (row.name, test) in wanted)) for row in rows]
    return [row for row in chosen if row.tests]


def share_of(rows: Sequence[Defence], number: int, jobs: int) -> list[Defence]:
    """The rows of one process: a test belongs to the share of its file, and files are dealt out by their weight."""
    tests = Counter(test.partition("::")[0] for row in rows for test in row.tests)
    load, share = [0] * jobs, {}
    for file, count in sorted(tests.items(), key=lambda item: (-item[1] * _weight(item[0]), item[0])):
        lightest = load.index(min(load))
        share[file] = lightest
        load[lightest] += count * _weight(file)
    return rows_of((pair for pair in pairs_of(rows) if share[pair[1].partition("::")[0]] == number), rows)


def _weight(file: str) -> int:
    """A test against a real gateway or with new keys takes seconds, one of a format a moment."""
    return next((weight for room, weight in WEIGHTS if file.startswith(f"tests/{room}")), 1)


def run_to_the_end(pairs: Sequence[Pair], command: Sequence[str] = ()) -> Counter[str]:
    """Have each pair run once by `command`, which reads them from standard input; the verdicts, counted."""
    counted: Counter[str] = Counter()
    left = list(pairs)
    for _ in range(PROCESSES if left else 0):
        told, code = _in_a_process(left, command or (sys.executable, "-m", "tests.defences", "--given"))
        counted.update(told.values())
        left = [pair for pair in left if pair not in told]
        if not left:
            break
        last = " of ".join(reversed(next(reversed(told)))) if told else "nothing"
        print(f"defences: a process ended early, with {code}; the last it told of was {last}; {len(left)} are left")
    for name, test in left:
        print(f"{Verdict.NEVER_RAN:15}        {name} {test}")
    counted.update(Verdict.NEVER_RAN for _ in left)
    return +counted


def _in_a_process(pairs: Sequence[Pair], command: Sequence[str]) -> tuple[dict[Pair, str], int]:
    """Print what a process says of these; return its verdicts, and its exit code or minus the signal that ended it."""
    told: dict[Pair, str] = {}
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write("".join(f"{name}\t{test}\n" for name, test in pairs))
        child.stdin.close()
        for line in child.stdout:
            if line.startswith(TALLY):
                verdict, name, test = line.removeprefix(TALLY).rstrip("\n").split("\t")
                told[name, test] = verdict
            else:
                print(line, end="", flush=True)
    return told, child.returncode
