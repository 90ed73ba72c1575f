"""Which of the backups in a store is the newest: by their signed numbers. Their names anybody may have written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

from backup_platform.rebuilding.errors import RebuildRefused
from backup_platform.storage.base import NotFound, Store
from protocol.stored.errors import FormatError

from .head import Head, read_head
from .trust import Demands, words_of

MOST_LOOKED_AT = 200
"""Heads that are read of a store, the newest names first: it may hold any number of names."""
HEAD_BYTES = 8192


@dataclass(frozen=True, slots=True)
class Found:
    """A backup in a store. `head` is None when it does not begin as one."""

    key: str
    head: Head | None

    def is_from(self, demands: Demands) -> bool:
        """Whether one of the operator's signers signed it."""
        signature = self.head.signature if self.head else None
        return signature is not None and signature.signer in demands.signers and signature.matches()

    @property
    def number(self) -> int:
        """The number that it gives itself; 0 for none."""
        return self.head.said.number if self.head and self.head.said else 0

    def words(self, demands: Demands) -> str:
        """What `--list` says of it."""
        if self.head is None:
            return "damaged, or no backup"
        if self.head.said is None or self.head.signature is None:
            return "not signed"
        if not self.head.signature.matches():
            return "its signature does not match"
        known = "yours" if self.is_from(demands) else "not a key that you name" if demands.signers else "unknown"
        return f"{words_of(self.head.said, self.head.signature)} ({known})"


def look(store: Store, keys: list[str]) -> Iterator[Found]:
    """The heads of backups, the newest name first. Raises StoreError: what cannot be read is not taken for forged."""
    for key in keys[::-1][:MOST_LOOKED_AT]:
        try:
            yield Found(key, _head(store.get(key, 0, HEAD_BYTES)))
        except NotFound:
            continue  # retention was faster


def newest(store: Store, keys: list[str], demands: Demands) -> str:
    """The key to take when none was named: the last name, unless another is proven newer. RebuildRefused then.

    An older backup under a newer name would else pass for the newest, and a forged one hide the one behind it.
    """
    found = list(look(store, keys))
    proven = [each for each in found if each.is_from(demands)]
    best = max(proven, key=lambda each: each.number, default=None)
    if best is None or best.key == keys[-1]:
        return keys[-1]
    raise RebuildRefused(
        f"{keys[-1]} has the newest name, and is: {found[0].words(demands)}. The newest that your platform's key "
        f"signed is {best.key}: {best.words(demands)}. Somebody may have put the other there. Choose with --backup."
    )


def _head(data: bytes) -> Head | None:
    try:
        return read_head(BytesIO(data))
    except FormatError:
        return None
