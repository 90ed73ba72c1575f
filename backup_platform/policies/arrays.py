"""Columns of many rows as PostgreSQL's array literals: made in one go, where adapting each value would take longer
than the statement itself. For numbers and times only; text goes through the driver, which quotes it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime


def numbers(values: Iterable[int]) -> str:
    """For `…::bigint[]`."""
    return "{" + ",".join(map(str, values)) + "}"


def seconds(values: Iterable[datetime | None]) -> str:
    """Times as whole seconds since 1970 UTC, for `to_timestamp` of `…::bigint[]`: due times have no fractions."""
    return "{" + ",".join("NULL" if one is None else str(int(one.timestamp())) for one in values) + "}"
