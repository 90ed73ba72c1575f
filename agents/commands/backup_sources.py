"""Sources and sizes as `strongroom backup` takes them from its command line."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agents.errors import UsageFault

if TYPE_CHECKING:
    from agents.engine.streaming import Stream

_FACTORS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class Size(click.ParamType[int]):
    """A number of bytes: 1000, 500K, 20M, 2G, 1T."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        text = str(value).strip().upper().removesuffix("B").removesuffix("I")
        number = text.rstrip("KMGT")
        factor = _FACTORS.get(text[len(number) :])
        if factor is None or not number.isascii() or not number.isdigit() or len(number) > 18:
            self.fail(f"{value!r} is no size. Give bytes, or a number with K, M, G or T.", param, ctx)
        return int(number) * factor


SIZE = Size()


@contextlib.contextmanager
def open_stream(home: Path, name: str, hook: str | None) -> Iterator[Stream]:
    """Standard input, or the output of a hook of this machine's own configuration, as a stream. Raises AgentError."""
    from agents.engine.streaming import Stream, reader_of, stream_path

    path = stream_path(os.fsencode(name))
    if hook is None:
        if sys.stdin is None or sys.stdin.isatty():
            raise UsageFault(
                "Standard input is a terminal.", "Pipe something in: pg_dump … | strongroom backup --stdin NAME"
            )
        yield Stream(path, reader_of(sys.stdin.fileno()))
        return
    from agents.daemon import hooks
    from agents.daemon.configuration_file import FILE, read

    found = hooks.find(read(home / FILE), hook)
    with hooks.start(found, hook, {"stdin_name": name}, stream=True) as running:
        read_on = reader_of(running.output.fileno())

        def fill(view: memoryview) -> int:
            count = read_on(view)
            if not count:
                running.finish()  # raises when the hook says that it failed: half a dump is not published
            return count

        yield Stream(path, fill)
