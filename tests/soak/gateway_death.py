"""`python -m tests.soak.gateway_death [AGENTS]`: SIGKILL for a gateway with two hundred jobs running.

Most agents come back by themselves and go on, some come back and have lost what they had in hand, some never come
back. Within two minutes no job may stand as running that nobody does, and in the end each is done, waits for a machine
that is away, or has failed with its cause.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from datetime import UTC, datetime, timedelta

from benchmarks.crowds import Crowd
from benchmarks.embedded_platform import EmbeddedPlatform
from tests.soak.crowded import create_policy, crowded_platform, say, wait_for

TWO_MINUTES = 120.0
STATES = """
    SELECT json_object_agg(state, n) FROM (
        SELECT state, count(*) AS n FROM jobs_job WHERE kind = 'backup' GROUP BY 1) states"""
OF_THE_SILENT = """
    SELECT count(*) FROM jobs_job job JOIN fleet_machine machine ON machine.id = job.machine_id
    WHERE job.kind = 'backup' AND machine.name = ANY(%s) AND job.state IN ('offered', 'running', 'cancelling')"""
WITHOUT_CAUSE = "SELECT count(*) FROM jobs_job WHERE state = 'failed' AND (last_error = '' OR advice = '')"


def main() -> int:
    """0 if every promise held; an AssertionError names what did not."""
    agents = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with crowded_platform(agents) as (platform, crowd):
        silent, once = agents // 6, agents // 12
        _all_run(platform, crowd, agents, once)
        killed = _kill(platform, crowd, silent)
        names = [_name(number) for number in range(silent)]
        wait_for("none of the silent is running", TWO_MINUTES, lambda: platform.ask(OF_THE_SILENT, names) == 0)
        settled = time.monotonic() - killed
        crowd.start("release").result(60)
        done = agents - silent
        wait_for("the others are done", 300, lambda: (platform.ask(STATES) or {}).get("done", 0) == done)
        states = platform.ask(STATES)
        assert states == {"done": done, "failed": once, "queued": silent - once}, states
        assert platform.ask(WITHOUT_CAUSE) == 0
        ledger = crowd.start("state").result(60)
        assert len(ledger["done"]) == len(set(ledger["done"])) == done
        say(f"gateway_death: {agents} jobs: nothing stood as running wrongly after {settled:.0f} s; then {states}")
    return 0


def _name(number: int) -> str:
    return f"simulated-{number:05}"


def _all_run(platform: EmbeddedPlatform, crowd: Crowd, agents: int, once: int) -> None:
    """Every agent has one job in hand; the first `once` have no other attempt."""
    crowd.start("hold").result(60)
    soon = datetime.now(UTC) + timedelta(minutes=2)
    cron = f"{soon.minute} {soon.hour} * * *"
    machines = [f"--machine={_name(number)}" for number in range(agents)]
    create_policy(platform, "once", cron, 1, *machines[:once])
    create_policy(platform, "again", cron, 3, *machines[once:])
    wait_for("all run", 300, lambda: platform.ask(STATES) == {"running": agents})
    say(f"{agents} jobs run")


def _kill(platform: EmbeddedPlatform, crowd: Crowd, silent: int) -> float:
    """The gateway, without a word; the first agents go with it, and the next have lost what they had in hand."""
    os.kill(platform.pids["gateway"], signal.SIGKILL)
    killed = time.monotonic()
    crowd.start("drop", agents=silent).result(60)
    crowd.start("forget", first=silent, agents=silent).result(60)
    say(f"the gateway is dead, {silent} machines with it, and {silent} know nothing any more")
    return killed


if __name__ == "__main__":
    sys.exit(main())
