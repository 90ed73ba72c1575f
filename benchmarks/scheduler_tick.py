"""The scheduler's tick over 10,000 policy assignments that are all due at once, on a PostgreSQL of its own.

    python -m benchmarks.scheduler_tick [--machines 1000] [--policies 10] [--rounds 5] [--json FILE]

Prints for planning and for each kind of tick the median and the worst wall time, the medians of what this process and
the database's had of the processor, and the number of statements. The database runs as in production (it waits for the
disk), with the application's role.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

GOAL_SECONDS = 1.0
START = datetime(2026, 5, 4, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SETTINGS = {
    "selection.sources": ["/home", "/etc", "/srv"],
    "schedule.kind": "cron",
    "schedule.cron": "0 * * * *",
    "schedule.zone": "machine",
    "schedule.jitter_minutes": 15,
    "schedule.windows": [{"days": list(range(7)), "from": "00:00", "until": "23:45"}],
}
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Tokyo")


@dataclass
class Step:
    """One kind of work, measured some times."""

    name: str
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    database_cpu: list[float] = field(default_factory=list)
    statements: int = 0

    def line(self) -> str:
        """As a line of the table."""
        wall, ours, theirs = (statistics.median(figures) for figures in (self.wall, self.cpu, self.database_cpu))
        return f"{self.name:<48} {wall:8.3f} {max(self.wall):8.3f} {ours:8.3f} {theirs:8.3f} {self.statements:6}"


@contextmanager
def database() -> Iterator[None]:
    """Django on an empty database of a PostgreSQL that is gone afterwards."""
    from tests import servers

    servers.QUICK_SETTINGS.clear()  # this one waits for the disk, as in production
    run = servers.ServerRun()
    try:
        found = run.start()
        os.environ["DJANGO_SETTINGS_MODULE"] = "backup_platform.settings.test"
        os.environ["REDIS_URL"] = found.valkey_url
        import django

        django.setup()
        from django.conf import settings
        from django.db import connections
        from django.test.utils import setup_databases

        settings.REDIS_URL = found.valkey_url
        connections["default"].settings_dict.update(found.django_settings())
        setup_databases(verbosity=0, interactive=False, serialized_aliases=())
        yield
        connections.close_all()
    finally:
        run.stop()


def measured(step: Step, work: Callable[[], object], *, counted: bool) -> None:
    """Do it once, and note what it took; the first time (`counted`) only its statements."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    if counted:
        with CaptureQueriesContext(connection) as captured:
            work()
        step.statements = len(captured)
        return
    wall, cpu, database_cpu = time.perf_counter(), time.process_time(), database_seconds()
    work()
    step.wall.append(time.perf_counter() - wall)
    step.cpu.append(time.process_time() - cpu)
    step.database_cpu.append(database_seconds() - database_cpu)


def database_seconds() -> float:
    """What the database's process of our connection has had of the processor; only Linux tells."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    facts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(facts[11]) + int(facts[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Measure; 0 when the goal was met, 1 when it was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machines", type=int, default=1000)
    parser.add_argument("--policies", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the figures there")
    given = parser.parse_args()
    print(f"load of the machine: {os.getloadavg()[0]:.2f} on {os.cpu_count()} processors")
    with database():
        steps = measure(given.machines, given.policies, given.rounds)
    print(f"{'':<48} {'wall s':>8} {'worst':>8} {'cpu':>8} {'db cpu':>8} {'statements':>6}")
    for step in steps:
        print(step.line())
    if given.json:
        given.json.write_text(json.dumps([asdict(step) for step in steps], indent=1))
    due = statistics.median(steps[1].wall)
    plans = given.machines * given.policies
    verdict = "met" if due <= GOAL_SECONDS else "missed"
    print(f"{plans:,} plans due at once: {due:.3f} s; goal {GOAL_SECONDS:.1f} s: {verdict}")
    return 0 if due <= GOAL_SECONDS else 1


def measure(machines: int, policies: int, rounds: int) -> list[Step]:
    """All steps, in rounds; the first round warms up."""
    from backup_platform.policies.planning import replan
    from backup_platform.policies.ticking import tick
    from tests.policies.conftest import make_place

    place = make_place("bench")
    for number in range(policies):
        place.assign(place.policy(f"policy {number}", **SETTINGS))
    for zone in ZONES:
        place.machines(machines // len(ZONES), zone=zone)
    works = {
        "planning all of them": lambda: replan(place.tenant.pk, now=START),
        "tick: all are due, each gets a job": lambda: tick(START + HOUR),
        "tick: all are due, no job of theirs is finished": lambda: tick(START + 2 * HOUR),
        "tick: nothing is due": lambda: tick(START),
    }
    steps = [Step(name) for name in works]
    for number in range(rounds + 1):
        clear()
        for step, work in zip(steps, works.values(), strict=True):
            measured(step, work, counted=number == 0)
    return steps


def clear() -> None:
    """No jobs and no plans, and tables without what was there before."""
    from django.conf import settings
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("RESET ROLE")
        cursor.execute("TRUNCATE policies_plan, jobs_job CASCADE")
        cursor.execute("ANALYZE")
        cursor.execute(f"SET ROLE {settings.DATABASE_APPLICATION_ROLE}")


if __name__ == "__main__":
    sys.exit(main())
