"""Write the figures of a run into the documentation, between two marks, so that nobody copies them by hand.

python -m benchmarks.figures [benchmarks/results/latest.json [docs/benchmarks.md]]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
Cells = dict[tuple[str, str, str], dict[str, Any]]


def tables(cells: Cells) -> str:
    """Two tables in Markdown: wall and CPU of each step, and sizes and memory."""
    rows = [
        "| corpus | step | wall: ours, restic | ratio | goal | CPU: ours, restic | ratio | goal |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for corpus, step in dict.fromkeys((corpus, step) for corpus, step, figure in cells if figure == "cpu"):
        wall, cpu = cells.get((corpus, step, "wall")), cells[corpus, step, "cpu"]
        if wall is not None:
            rows.append(f"| {corpus} | {step} | {_pair(wall, 's')} | {_pair(cpu, 's')} |")
    rows += ["", "| corpus | after or during | what | ours, restic | ratio | goal |", "|---|---|---|---|---|---|"]
    words = {"rss": "peak memory", "size": "store"}
    for (corpus, step, figure), one in cells.items():
        if figure in words:
            rows.append(f"| {corpus} | {step} | {words[figure]} | {_pair(one, 'MiB')} |")
    return "\n".join(rows)


def _pair(one: dict[str, Any], unit: str) -> str:
    digits = 0 if unit == "MiB" else 2
    ours = f"{one['ours']:,.{digits}f}"
    peer = "-" if one["peer"] is None else f"{one['peer']:,.{digits}f}"
    ratio = "" if one["ratio"] is None else f"{one['ratio']:.2f}"
    if one["goal"] is None:
        return f"{ours}, {peer} {unit} | {ratio} | "
    absolute = one["ratio"] is None or (unit == "MiB" and one["goal"] > 10)
    missed = (one["ours"] if absolute else one["ratio"]) > one["goal"]
    goal = f"{one['goal']:g} {unit}" if absolute else f"{one['goal']:.2f}"
    return f"{ours}, {peer} {unit} | {ratio} | {goal}{' **missed**' if missed else ''}"


def replace(page: str, text: str) -> str:
    """The page with `text` between the marks. ValueError when it has none."""
    before, mark, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (mark and end):
        raise ValueError(f"The page has no lines {BEGIN} and {END}.")
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def main(arguments: list[str]) -> None:
    """Read the JSON file, rewrite the page."""
    source = Path(arguments[0] if arguments else "benchmarks/results/latest.json")
    page = Path(arguments[1] if len(arguments) > 1 else "docs/benchmarks.md")
    cells = {(one["corpus"], one["step"], one["figure"]): one for one in json.loads(source.read_text())["cells"]}
    page.write_text(replace(page.read_text(), tables(cells)))


if __name__ == "__main__":
    main(sys.argv[1:])
