"""The table as a page of docs shows it, between two marks; `tests/defences/test_table.py` sees that it is current."""

from __future__ import annotations

from collections.abc import Sequence

from tests.defences.defence import Defence

BEGIN = "<!-- begin: made by python -m tests.defences --document -->"
END = "<!-- end -->"


def table(rows: Sequence[Defence]) -> str:
    """The rows as Markdown."""
    lines = ["| law or binding | what holds | defence | test |", "|---|---|---|---|"]
    for row in rows:
        places = "<br>".join(f"`{place}`" for place in dict.fromkeys(removal.place for removal in row.removals))
        tests = "<br>".join(f"`{test.removeprefix('tests/')}`" for test in row.tests)
        lines.append(f"| {row.law} | {row.says} | {places} | {tests} |".replace("\n", " "))
    return "\n".join(lines)


def write_table(page: str, rows: Sequence[Defence]) -> str:
    """The page with the table between its marks. ValueError when the marks are not there."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the page has no marks for the table of defences")
    return f"{before}{BEGIN}\n{table(rows)}\n{END}{after}"
