"""SIGKILL, at random moments, for agents, gateways, workers, Valkey and PostgreSQL; and cut connections."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tests.soak.fleet import Fleet

PAUSE = (0.2, 4.0)
"""Seconds between two kills."""
REST = 12.0
"""Seconds that a part which `up` keeps is left alone after a kill: `up` waits longer and longer for one that dies."""


class Killer:
    """Kills until told to stop. Everything that chance decides comes from the seed."""

    def __init__(self, fleet: Fleet, seed: int) -> None:
        self.kills: Counter[str] = Counter()
        self._fleet = fleet
        self._chance = random.Random(f"kills {seed}")
        self._stop = threading.Event()
        self._killed_at: dict[str, float] = {}
        self._kinds: list[tuple[str, int, Callable[[], bool]]] = [
            ("agent", 8, self._kill_agent),
            ("gateway", 8, self._kill_gateway),
            ("connection", 3, self._cut),
            *((name, 3, lambda name=name: self._kill_kept(name)) for name in ("worker", "valkey", "postgres")),
        ]

    @contextmanager
    def running(self) -> Iterator[Killer]:
        thread = threading.Thread(target=self._run, name="killer")
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._chance.uniform(*PAUSE)):
            names, weights, calls = zip(*self._kinds, strict=True)
            (index,) = self._chance.choices(range(len(names)), weights)
            if calls[index]():
                self.kills[names[index]] += 1

    def _kill_agent(self) -> bool:
        return self._chance.choice(self._fleet.rounds).kill()

    def _kill_gateway(self) -> bool:
        """It stays dead for a while; the other one, or the one that `up` keeps, takes over."""
        gateway = self._chance.choice(self._fleet.gateways)
        if gateway.process.poll() is not None:
            return False
        gateway.kill()
        timer = threading.Timer(self._chance.choice((0, 0, 0, 2, 15)), self._fleet.start_gateway, [gateway])
        timer.daemon = True
        timer.start()
        return True

    def _cut(self) -> bool:
        self._fleet.proxy.cut()
        return True

    def _kill_kept(self, name: str) -> bool:
        if time.monotonic() - self._killed_at.get(name, 0) < REST:
            return False
        self._killed_at[name] = time.monotonic()
        with suppress(ProcessLookupError, FileNotFoundError):
            os.kill(self._fleet.stage.pid(name), signal.SIGKILL)
            return True
        return False
