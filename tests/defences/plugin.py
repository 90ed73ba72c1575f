"""The pytest plugin of `make defences`: runs each test as it is, then once without each defence it should notice.

Every run is an ordinary run of the ordinary test with its own fixtures. Between two runs everything but the session's
fixtures is torn down, so that nothing that was made without a defence is met again.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

from tests.defences.defence import Defence
from tests.defences.removal import OutOfDate, taken_away

SECONDS_A_RUN = 240
"""A test that goes on for longer has hung: without a defence that is possible, and no proof of anything. The first run
of a process also makes the test database, which takes a minute where the machine is busy."""

RUNS = 3
"""How often a test may run without its defence until it notices. A race that the defence decides can also end well by
chance: only what ends well every time goes unnoticed. A test that noticed late says at which run."""


class Verdict(StrEnum):
    """What became of a row. Only the first is good."""

    NOTICED = "noticed"
    UNNOTICED = "NOT NOTICED"
    BROKEN = "BROKE OTHERWISE"
    """The test ended with another kind of exception than it is expected to: the removal may have broken the code."""
    FAILS_ANYWAY = "FAILS ANYWAY"
    """The test does not pass with the defence in place."""
    MISSING = "NO SUCH TEST"
    OUT_OF_DATE = "OUT OF DATE"
    """The defence is not where the table says."""
    NEVER_RAN = "NEVER RAN"
    """The process that should have run it ended before, each time."""


class Overdue(BaseException):
    """A run took longer than SECONDS_A_RUN."""


@dataclass(slots=True)
class Outcome:
    """One run of a test: whether it passed, else the phase and kind of its first exception, and what it said."""

    passed: bool = True
    phase: str = ""
    kind: str = ""
    text: str = ""


@dataclass(slots=True)
class Finding:
    """What is said of one row and one of its tests."""

    row: Defence
    test: str
    verdict: Verdict
    text: str = ""
    run: int = 1
    """At which run without the defence it was said."""


@dataclass(eq=False)
class DefencePlugin:
    """Give it to `pytest.main` with the rows' tests as arguments; `findings` are complete afterwards."""

    rows: Sequence[Defence]
    tell: Any = print
    findings: list[Finding] = field(default_factory=list)
    _outcome: Outcome = field(default_factory=Outcome)
    _intact: dict[str, Outcome] = field(default_factory=dict)

    def pytest_configure(self, config: pytest.Config) -> None:
        """Examples that fail without a defence are no use to anybody: hypothesis neither keeps nor shrinks them."""
        from hypothesis import Phase, settings

        settings.register_profile(
            "defences",
            database=None,
            derandomize=True,
            report_multiple_bugs=False,
            phases=(Phase.explicit, Phase.generate),
        )
        settings.load_profile("defences")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if not report.passed and self._outcome.passed:
            self._outcome = _told(report, call)
        return report

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Instead of pytest's own loop: test by test, so that servers and modules are set up once."""
        if session.testsfailed:
            raise session.Interrupted(f"{session.testsfailed} errors while collecting the tests of the defences")
        items = {item.nodeid: item for item in session.items}
        for row, test in self._in_order_of(list(items)):
            chosen = [items[node] for node in items if _names(test, node)]
            began = time.monotonic()
            finding = self._judge(session, row, test, chosen)
            self.findings.append(finding)
            self.tell(finding, time.monotonic() - began)
        return True

    def _in_order_of(self, nodes: list[str]) -> list[tuple[Defence, str]]:
        place = {node: index for index, node in reversed(list(enumerate(nodes)))}
        pairs = [(row, test) for row in self.rows for test in row.tests]
        first = {test: min((place[n] for n in nodes if _names(test, n)), default=-1) for _, test in pairs}
        return sorted(pairs, key=lambda pair: first[pair[1]])

    def _judge(self, session: pytest.Session, row: Defence, test: str, items: list[pytest.Item]) -> Finding:
        if not items:
            return Finding(row, test, Verdict.MISSING)
        for item in items:
            if item.nodeid not in self._intact:
                self._intact[item.nodeid] = self._run(session, item)
            if not self._intact[item.nodeid].passed:
                outcome = self._intact[item.nodeid]
                return Finding(row, test, Verdict.FAILS_ANYWAY, f"{outcome.phase}: {outcome.kind} {outcome.text}")
        try:
            with taken_away(row.removals):
                return self._judge_without(session, row, test, items)
        except OutOfDate as fault:
            return Finding(row, test, Verdict.OUT_OF_DATE, str(fault))

    def _judge_without(self, session: pytest.Session, row: Defence, test: str, items: Sequence[pytest.Item]) -> Finding:
        """One of a test's parameters has to notice."""
        for run, item in product(range(1, RUNS + 1), items):
            outcome = self._run(session, item)
            if outcome.passed:
                continue
            said = f"{outcome.phase}: {outcome.kind} {outcome.text}"
            good = outcome.phase == "call" and outcome.kind in row.accepted
            return Finding(row, test, Verdict.NOTICED if good else Verdict.BROKEN, said, run)
        return Finding(row, test, Verdict.UNNOTICED, run=RUNS)

    def _run(self, session: pytest.Session, item: pytest.Item) -> Outcome:
        self._outcome = Outcome()
        with _time_limit(SECONDS_A_RUN):
            runtestprotocol(item, log=False, nextitem=_JustTheSession(session))  # type: ignore[arg-type]
        return self._outcome


@dataclass(frozen=True, slots=True)
class _JustTheSession:
    """Stands for "a test of some other file": pytest then tears down everything below the session."""

    session: pytest.Session

    def listchain(self) -> list[pytest.Session]:
        return [self.session]


@contextmanager
def _time_limit(seconds: int) -> Iterator[None]:
    def ring(_number: int, _frame: object) -> None:
        raise Overdue(f"it was not over after {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _told(report: pytest.TestReport, call: pytest.CallInfo[None]) -> Outcome:
    if call.excinfo is None:
        return Outcome(False, report.when, "", "")
    kind = call.excinfo.type
    # A class of ours is told with its module: a gateway's `agent_peer.Failed` is not pytest's own `Failed`.
    plain = kind.__module__ == "builtins" or kind.__module__.startswith("_pytest.")
    name = kind.__name__ if plain else f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}"
    return Outcome(False, report.when, name, str(call.excinfo.value)[:300])


def _names(test: str, node: str) -> bool:
    """Whether a node id is this test, or one of its parameters."""
    return node == test or node.startswith(f"{test}[")


def pytest_arguments(rows: Sequence[Defence], base: str) -> list[str]:
    """What to hand to `pytest.main`: the rows' tests, quietly, leaving no cache and no litter of other runs."""
    tests = dict.fromkeys(test for row in rows for test in row.tests)
    return ["-qq", "--no-header", "--no-summary", "-p", "no:cacheprovider", f"--basetemp={base}", *tests]


def original_output() -> Any:
    """Standard output as it was before pytest captured it."""
    return os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
