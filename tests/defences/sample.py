"""Something to take defences away from, for the tests of the tool."""

from __future__ import annotations

from functools import wraps
from typing import Any

LIMIT = 10
SQL = "SELECT 1 WHERE true AND live"


def guarded(number: int) -> int:
    """The number, if the guard lets it pass."""
    if number > LIMIT:
        raise ValueError("too large")
    return number


def traced(function: Any) -> Any:
    @wraps(function)
    def call(*arguments: Any) -> Any:
        return function(*arguments)

    return call


class Gate:
    """A method of each kind."""

    @traced
    def method(self) -> int:
        return 3

    @property
    def quiet(self) -> int:
        return 3

    @staticmethod
    def fixed() -> int:
        return 3

    def wide(self) -> int:
        return 3 if super().__init__() is None else 0

    def read(self, name: str) -> int:
        found = getattr(self, name)
        return found if isinstance(found, int) else found()
