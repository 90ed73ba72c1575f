"""What scrub expects to find under a key: how right bytes are told, and what they are where the catalogue knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wanted:
    """An object that should stand somewhere: its key, how right bytes are told, and these bytes if the row has them."""

    key: str
    is_right: Callable[[bytes], bool]
    known: bytes | None = None
