"""Reading what a target holds, whole, and comparing it: the only thing that makes a copy count."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from blake3 import blake3

from backup_platform.catalog.models import Pack
from backup_platform.catalog.pack_check import drop_cached_pages
from backup_platform.secret_box import SecretUnreadable
from backup_platform.storage.base import NotFound, Store, StoreError
from backup_platform.storage.pace import Pace, TooSlow, at_least
from backup_platform.tiering.errors import TargetSlow, TargetTrouble

PIECE = 1024 * 1024
LOOKS = 3
"""A body that was spoilt on its way is read again before the target is said to hold other bytes."""

Heartbeat = Callable[[int], object]


@dataclass(frozen=True, slots=True)
class Digests:
    """What a file is: its size, BLAKE3 and SHA-256."""

    size: int
    blake3: bytes
    sha256: bytes

    def are_of(self, pack: Pack) -> bool:
        """Whether they are the pack's, by all that is known of it."""
        same = self.size == pack.bytes and self.blake3 == bytes(pack.digest)
        return same and bytes(pack.sha256) in (b"", self.sha256)


def digests(file: BinaryIO, heartbeat: Heartbeat = bool) -> Digests:
    """Read a file to its end. `heartbeat` is told how many bytes were read, every MiB."""
    first, second, size = blake3(), hashlib.sha256(), 0
    while piece := file.read(PIECE):
        first.update(piece)
        second.update(piece)
        size += len(piece)
        heartbeat(size)
    return Digests(size, first.digest(), second.digest())


def read_back(store: Store, key: str, pack: Pack, heartbeat: Heartbeat = bool) -> bool | None:
    """Whether the store holds the pack's own bytes under a key; None when it says that the key is not there.

    False only after several looks. TargetTrouble when that cannot be said, TargetSlow when it takes too long to say.
    """
    with at_least(pack.bytes, heartbeat) as pace:
        try:
            return _look(store, key, pack, pace)
        except NotFound:
            return None
        except TooSlow as fault:
            raise TargetSlow(str(fault), pace.took) from fault
        except (StoreError, SecretUnreadable, OSError) as fault:
            raise TargetTrouble(str(fault)) from fault


def _look(store: Store, key: str, pack: Pack, pace: Pace) -> bool:
    for _ in range(LOOKS):
        with store.open(key) as file:
            drop_cached_pages(file)
            if digests(file, pace.reached).are_of(pack):
                return True
    return False
