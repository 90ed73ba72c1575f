"""From samples to figures: medians, ratios, goals, the two JSON files, the table."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.goals import GOALS, REFERENCE, Goal
from benchmarks.measuring import Sample

FIGURES = ("wall", "cpu", "rss", "size")
UNITS = {"wall": "s", "cpu": "s", "rss": "MiB", "size": "MiB"}


@dataclass
class Record:
    """One measured step: whose, of what, in which run."""

    contender: str
    corpus: str
    step: str
    run: int
    sample: Sample

    def figure(self, name: str) -> float | None:
        """One of the four figures. A store's size is known after some steps only."""
        if name == "size":
            return self.sample.more.get("size")
        return float(getattr(self.sample, name)) if getattr(self.sample, name) else None


@dataclass
class Results:
    """All records of a benchmark, and what must be known to read them."""

    records: list[Record] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    corpora: list[dict[str, Any]] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=dict)

    def add(self, contender: str, corpus: str, step: str, run: int, sample: Sample) -> None:
        """Keep a sample."""
        self.records.append(Record(contender, corpus, step, run, sample))

    def values(self, contender: str, corpus: str, step: str, figure: str) -> list[float]:
        """The figure of each run."""
        found = (
            record.figure(figure)
            for record in self.records
            if (record.contender, record.corpus, record.step) == (contender, corpus, step)
        )
        return [value for value in found if value is not None]

    def median(self, contender: str, corpus: str, step: str, figure: str) -> float | None:
        """The median of the runs; None where nothing was measured."""
        values = self.values(contender, corpus, step, figure)
        return statistics.median(values) if values else None

    def steps(self) -> Iterable[tuple[str, str]]:
        """(corpus, step) of all that we measured of ourselves, in the order in which it was."""
        return dict.fromkeys((record.corpus, record.step) for record in self.records if record.contender == "ours")

    def cells(self) -> list[dict[str, Any]]:
        """One cell a figure, against the reference. See `cell`."""
        made = []
        for corpus, step in self.steps():
            for figure in FIGURES:
                ours = self.median("ours", corpus, step, figure)
                if ours is not None:
                    peer = self.median(REFERENCE, corpus, step, figure)
                    made.append(cell(corpus, step, figure, ours, peer, GOALS.get((corpus, step, figure))))
        return made


def cell(corpus: str, step: str, figure: str, ours: float, peer: float | None, goal: Goal | None) -> dict[str, Any]:
    """A cell of latest.json. Where the goal bounds the figure itself, peer and ratio are null: `goal` is in its unit.

    Otherwise `goal` (if there is one) bounds `ratio`, which is null where the reference was not measured.
    """
    compared = peer if goal is None or goal.is_ratio else None
    return {
        "corpus": corpus,
        "step": step,
        "figure": figure,
        "ours": round(ours, 3),
        "peer": None if compared is None else round(compared, 3),
        "ratio": None if not compared else round(ours / compared, 3),
        "goal": goal.most if goal else None,
    }


def verdict(found: dict[str, Any]) -> str:
    """What a cell says of its goal."""
    if found["goal"] is None:
        return ""
    absolute = (found["corpus"], found["step"], found["figure"])
    reached = found["ours"] if not GOALS[absolute].is_ratio else found["ratio"]
    if reached is None:
        return "no peer"
    if reached <= found["goal"]:
        return "met"
    return f"MISSED by {100 * (reached / found['goal'] - 1):.0f} %"


def table(results: Results, others: Sequence[str] = ()) -> str:
    """A Markdown table of all cells; OTHERS are peers beside the reference, by ratio only."""
    names = [name for name in others if any(record.contender == name for record in results.records)]
    head = ["corpus", "step", "figure", "ours", REFERENCE, "ratio", "goal", "", *(f"to {name}" for name in names)]
    lines = [head, ["---"] * len(head)]
    for found in results.cells():
        key = (found["corpus"], found["step"], found["figure"])
        against = [ratio_text(found["ours"], results.median(name, *key)) for name in names]
        lines.append(
            [
                *key,
                f"{number(found['ours'])} {UNITS[key[2]]}",
                number(results.median(REFERENCE, *key)),
                number(found["ratio"]),
                number(found["goal"]),
                verdict(found),
                *against,
            ]
        )
    widths = [max(len(line[place]) for line in lines) for place in range(len(head))]
    return "\n".join(
        "| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


def number(value: float | None) -> str:
    """Two decimals below a hundred, none above."""
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"


def ratio_text(ours: float, peer: float | None) -> str:
    """Our figure as a ratio to another's."""
    return f"{ours / peer:.2f}" if peer else "-"


def save(results: Results, directory: Path) -> Path:
    """Write latest.json (the contract with scripts) and latest-detail.json (every sample of every run)."""
    directory.mkdir(parents=True, exist_ok=True)
    latest = directory / "latest.json"
    detail = {**asdict(results), "cells": results.cells()}
    (directory / "latest-detail.json").write_text(json.dumps(detail, indent=1) + "\n")
    latest.write_text(json.dumps({"cells": results.cells(), "peers": results.versions}, indent=1) + "\n")
    return latest


def save_failed(results: Results, directory: Path) -> Path:
    """Keep what was measured before a step failed, under a name that nobody takes for a result."""
    directory.mkdir(parents=True, exist_ok=True)
    kept = directory / "failed-detail.json"
    kept.write_text(json.dumps(asdict(results), indent=1) + "\n")
    return kept
