"""What the person at the terminal sees: each step, why it is there, what it gave, how long it took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.text import Text


@dataclass
class Teller:
    """Numbers the steps and times them; on a terminal a spinner shows that something happens."""

    console: Console
    steps: int
    number: int = 0
    results: list[str] = field(default_factory=list)

    @contextmanager
    def step(self, title: str, why: str) -> Iterator[list[str]]:
        """One step. The body appends lines to the yielded list; they are shown with the time that it took."""
        self.number += 1
        self.console.print(f"\n[bold]{self.number}/{self.steps}  {escape(title)}[/bold]")
        self.console.print(f"     [dim]{escape(why)}[/dim]")
        lines: list[str] = []
        started = time.monotonic()
        if self.console.is_terminal:
            with self.console.status("     working"):
                yield lines
        else:
            yield lines
        took = time.monotonic() - started
        for line in lines:
            style = "cyan" if line.startswith("$ ") else ""
            self.console.print(f"     {escape(line)}", highlight=False, style=style)
        self.console.print(f"     [green]done[/green] in {took:.1f} s", highlight=False)

    def panel(self, title: str, lines: list[str], *, good: bool = True) -> None:
        """A result: framed on a terminal, plain lines elsewhere (a frame would cut them at eighty columns)."""
        self.console.print()
        if not self.console.is_terminal:
            for line in [f"{title}:", *(f"  {line}" for line in lines)]:
                self.console.print(escape(line), highlight=False)
            return
        text = Text("\n".join(lines), overflow="fold")
        self.console.print(Panel(text, title=title, border_style="green" if good else "red", expand=False))


def megabytes(count: int) -> str:
    """A size for people."""
    return f"{count / 1_000_000:,.1f} MB"
