"""Packs of a store that lie in cold storage: set aside, and asked for only where somebody wants to wait for them.

Without a server nobody knows which packs a snapshot needs before their indexes were read. So all cold packs of a vault
have to be asked for, or none; as that costs money, it is done only when it was asked for by name.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from agents.errors import WaitedTooLong
from agents.from_target.stores import Frozen, ObjectStore
from protocol.stored.packs import PACK_HEADER_SIZE

ASKERS = 8
FIRST_PAUSE = 60.0
LONGEST_PAUSE = 900.0
LATER = "It goes on by itself. Run the same command again later; with --resume nothing is read twice."
ASK = (
    "Add --wait-for-thaw HOURS to ask for all of them and wait (the provider charges for it), or restore them with the "
    "provider's own tools first."
)

Item = tuple[str, int]
"""A pack's key, and its size in bytes."""


@dataclass
class ColdPacks:
    """The cold packs of a vault. `hours`: how long to wait for them; None: they are not asked for."""

    hours: float | None = None
    phase: Callable[[bool], None] = lambda waiting: None
    packs: list[Item] = field(default_factory=list)

    def sentence(self) -> str:
        """What is cold, for people."""
        count = "1 pack" if len(self.packs) == 1 else f"{len(self.packs):,} packs"
        return f"{count} of this vault ({sum(size for _, size in self.packs) / 2**20:,.0f} MiB) lie in cold storage"

    def missing(self) -> Frozen:
        """What is said of a record that is in no pack that can be read: it may be in a cold one."""
        return Frozen(f"{self.sentence()}, and what is needed can be in one of them.", ASK)

    def wait(self, store: ObjectStore, tell: Callable[[str], None]) -> list[Item]:
        """Ask for all of them and wait; what can be read now. Empty when they are not to be asked for.

        Raises WaitedTooLong when the time is over, Unreachable when the store refuses.
        """
        if self.hours is None or not self.packs:
            return []
        packs, self.packs = self.packs, []
        end = time.monotonic() + self.hours * 3600
        self.phase(True)
        try:
            self._ask(store, packs)
            tell(f"{self._of(packs).sentence()} and were asked for; it takes hours.")
            _wait(store, packs, end)
        finally:
            self.phase(False)
        return packs

    @staticmethod
    def _of(packs: list[Item]) -> ColdPacks:
        return ColdPacks(packs=packs)

    @staticmethod
    def _ask(store: ObjectStore, packs: Sequence[Item]) -> None:
        with ThreadPoolExecutor(ASKERS, thread_name_prefix="strongroom-thaw") as pool:
            for _ in pool.map(store.thaw, [key for key, _ in packs]):
                pass


def _wait(store: ObjectStore, packs: Sequence[Item], end: float) -> None:
    """Look at the packs in turn until each could be read: one that is there is not looked at again."""
    pause, resting = FIRST_PAUSE, threading.Event()
    for number, (key, _) in enumerate(packs):
        while not _is_there(store, key):
            left = end - time.monotonic()
            if left <= 0:
                words = f"{len(packs) - number:,} of {len(packs):,} packs are still in cold storage"
                raise WaitedTooLong(f"{words}; they were asked for, and waiting has come to its end.", LATER)
            resting.wait(min(pause, left))
            pause = min(pause * 2, LONGEST_PAUSE)


def _is_there(store: ObjectStore, key: str) -> bool:
    try:
        store.read(key, 0, PACK_HEADER_SIZE)
    except Frozen:
        return False
    return True
