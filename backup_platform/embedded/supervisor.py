"""Keeps children alive: a child that dies is started again, at once the first time, then with growing pauses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from backup_platform.embedded.child import Child, Recipe, bound_log
from backup_platform.embedded.errors import ServerFailed
from backup_platform.embedded.readiness import wait_until_ready

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 30.0
HEALTHY_SECONDS = 60  # a child that lived this long starts again without a pause
LOG_CHECK_SECONDS = 60
WATCH_SECONDS = 60


class Supervisor:
    """Children in the order of their start; stopped in the reverse order.

    SAY prints a line for the person at the terminal. CHANGED is called whenever a process was replaced by another.
    CHILDREN_LOCK is the descriptor of a lock that lasts as long as any child does (home.wait_for_predecessors).
    """

    def __init__(self, say: Callable[[str], None], children_lock: int | None = None) -> None:
        self.children: dict[str, Child] = {}
        self._say = say
        self._children_lock = children_lock
        self._keepers: list[asyncio.Task[None]] = []
        self._changed: Callable[[], None] = lambda: None

    @property
    def pids(self) -> dict[str, int]:
        """The process id of each child."""
        return {name: child.pid for name, child in self.children.items()}

    async def start(self, recipe: Recipe) -> float:
        """Start one child and wait until it serves; seconds that it took. Raises ServerFailed."""
        child = self.children[recipe.name] = Child(recipe, self._children_lock)
        await child.start()
        return await wait_until_ready(child)

    def keep(self, changed: Callable[[], None]) -> None:
        """From now on, start again what dies."""
        self._changed = changed
        self._keepers = [asyncio.create_task(self._keep(child)) for child in self.children.values()]
        self._keepers.append(asyncio.create_task(self._bound_logs()))
        self._keepers += [asyncio.create_task(self._watch(child)) for child in self.children.values()]

    async def _keep(self, child: Child) -> None:
        pause = 0.0
        started = time.monotonic()
        while True:
            code = await child.wait()
            await child.stop()  # what the dead process left in its session, before its number can be another's
            healthy = time.monotonic() - started > HEALTHY_SECONDS
            pause = 0.0 if healthy else pause
            self._say(f"{child.recipe.name} ended ({_describe(code)}); starting it again")
            await asyncio.sleep(pause)
            pause = min(max(FIRST_PAUSE, pause * 2), LONGEST_PAUSE)
            started = time.monotonic()
            await self._start_again(child)

    async def _start_again(self, child: Child) -> None:
        """Never raises: a keeper that ends leaves its child dead for good, and nobody hears of it."""
        try:
            await child.start()
            await wait_until_ready(child)
        except Exception as fault:  # noqa: BLE001 - see above
            what = fault.what if isinstance(fault, ServerFailed) else f"{type(fault).__name__} while it was started"
            self._say(f"{child.recipe.name}: {what}")
            await child.stop()
            return
        self._say(f"{child.recipe.name} serves again (process {child.pid})")
        self._changed()

    async def _watch(self, child: Child) -> None:
        """End a child that lives and does nothing; its keeper starts it again."""
        silent = child.recipe.silent
        while silent:
            await asyncio.sleep(WATCH_SECONDS)
            if child.alive and await silent():
                self._say(f"{child.recipe.name} lives but does no work; ending it")
                await child.stop()
                await asyncio.sleep(WATCH_SECONDS)  # the new one needs time to show that it works

    async def _bound_logs(self) -> None:
        while True:
            await asyncio.sleep(LOG_CHECK_SECONDS)
            for child in self.children.values():
                await asyncio.to_thread(bound_log, child.recipe.log)

    async def stop(self) -> None:
        """End every child: ours first and together, then the servers that they use, the last started first."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        servers = {"valkey", "postgres"}
        ours = [child for name, child in self.children.items() if name not in servers]
        await asyncio.gather(*(child.stop() for child in ours))
        for name in ("valkey", "postgres"):
            if name in self.children:
                await self.children[name].stop()


def _describe(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
