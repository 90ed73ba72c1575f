"""docs/wire-protocol.md says what the code says."""

import re
from pathlib import Path

import pytest

from protocol.wire import FailureCode, MessageType, limits, messages, reference
from protocol.wire.codec import KINDS

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "wire-protocol.md").read_text()
VECTORS = Path(__file__).resolve().parents[2] / "vectors" / "wire"
ROW = re.compile(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.+) \|$", re.MULTILINE)
NESTED = {
    "Statistics:": messages.Statistics,
    "SnapshotItem:": messages.SnapshotItem,
    "Fate:": messages.Fate,
    "RunningJob:": messages.RunningJob,
    "LogLine:": messages.LogLine,
}


def section(kind: MessageType) -> str:
    """The text under a message's heading."""
    found = re.search(rf"^#### {kind.name}$(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"docs/wire-protocol.md has no section on {kind.name}"
    return found[1]


@pytest.mark.parametrize("name", ["state_diagram", "opening_table", "message_table"])
def test_generated_parts_are_those_of_the_code(name: str) -> None:
    found = re.search(rf"<!-- generated: {name} -->\n(?:```mermaid\n)?(.*?)(?:\n```)?\n<!-- end -->", PAGE, re.DOTALL)
    assert found
    assert found[1] == getattr(reference, name)()


@pytest.mark.parametrize("kind", MessageType)
def test_every_field_is_described_with_its_bounds(kind: MessageType) -> None:
    text = section(kind)
    for heading, cls in NESTED.items():
        text, _, nested = text.partition(f"\n{heading}\n")
        if nested:
            assert [row[:3] for row in ROW.findall(nested)] == list(reference.field_rows(cls))
    assert [row[:3] for row in ROW.findall(text)] == list(reference.field_rows(KINDS[kind].cls))


def test_every_failure_code_is_described() -> None:
    errors = PAGE.partition("## Errors")[2]
    assert re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", errors, re.MULTILINE) == [
        (str(int(code)), code.name) for code in FailureCode
    ]


def test_limits_are_those_of_the_code() -> None:
    table = PAGE.partition("## Limits")[2].partition("## Messages")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", table, re.MULTILINE)
    assert len(rows) >= 15
    for name, value in rows:
        assert getattr(limits, name) == float(value.replace(",", "")), name


def test_worked_example_shows_the_vectors() -> None:
    example = PAGE.partition("## A worked example")[2]
    dumps = re.findall(r"`([\w-]+)\.bin`\n\n```\n(.*?)```", example, re.DOTALL)
    assert len(dumps) >= 10
    for name, dump in dumps:
        lines = [re.sub(r"\s", "", line[6:53]) for line in dump.splitlines()]
        assert bytes.fromhex("".join(lines)) == (VECTORS / f"{name}.bin").read_bytes()
