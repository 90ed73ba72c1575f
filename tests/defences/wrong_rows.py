"""One row that is right, and one that is wrong in each way; run by test_table.py as a process of its own."""

from __future__ import annotations

import sys
import tempfile

import pytest

from tests.defences.defence import defence
from tests.defences.plugin import DefencePlugin, Verdict, original_output, pytest_arguments
from tests.defences.removal import Edit
from tests.defences.shares import REPOSITORY

PLACE = "tests.defences.sample:guarded"
TESTS = "tests/defences/wrong_tests.py"
ROWS = (
    defence("right", "", ".", Edit(PLACE, "if number > LIMIT:", "if False:"), f"{TESTS}::test_guard"),
    defence("changes nothing", "", ".", Edit(PLACE, "too large", "too big"), f"{TESTS}::test_guard"),
    defence(
        "breaks the code", "", ".", Edit(PLACE, "if number > LIMIT:", "if number > LIMITS:"), f"{TESTS}::test_guard"
    ),
    defence("fails anyway", "", ".", Edit(PLACE, "if number > LIMIT:", "if False:"), f"{TESTS}::test_wrong"),
    defence("moved away", "", ".", Edit(PLACE, "if number >= LIMIT:", "if False:"), f"{TESTS}::test_guard"),
)


def main() -> int:
    out = original_output()
    rows = (*ROWS, defence("no such test", "", ".", Edit(PLACE, "10", "11"), f"{TESTS}::test_guard[none]"))
    plugin = DefencePlugin(rows, lambda finding, _: print(finding.row.name, finding.verdict, sep="  ", file=out))
    with tempfile.TemporaryDirectory(prefix="strongroom-defences-") as base:
        tests = pytest_arguments(ROWS, f"{base}/runs")
        pytest.main([*tests, f"--rootdir={REPOSITORY}"], plugins=[plugin])
    return int(any(finding.verdict is not Verdict.NOTICED for finding in plugin.findings))


if __name__ == "__main__":
    sys.exit(main())
