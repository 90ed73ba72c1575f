"""A whole platform with a crowd of simulated agents, for soaks that look at jobs and not at data."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.crowds import Crowd
from benchmarks.embedded_platform import TENANT, EmbeddedPlatform

EVERY_MINUTE = "* * * * *"


@contextmanager
def crowded_platform(agents: int) -> Iterator[tuple[EmbeddedPlatform, Crowd]]:
    """`agents` machines, enrolled and connected; as many jobs may run at once as there are machines."""
    work = Path(tempfile.mkdtemp(prefix="sr-crowd-"))
    work.chmod(0o755)
    platform, crowd = EmbeddedPlatform(work / "platform"), None
    try:
        platform.start()
        platform.database.execute(
            "INSERT INTO jobs_joblimits (tenant_id, target, most_running) SELECT id, '', %s FROM tenants_tenant",
            [agents],
        )
        crowd = Crowd(_enrollment(platform, agents), work / "crowd", 0, agents)
        for verb in ("enrol", "connect"):
            say(f"{verb}: {agents} agents")
            answer = crowd.start(verb).result(600)
            assert "fault" not in answer, answer
        yield platform, crowd
    finally:
        if crowd is not None:
            crowd.stop()
        platform.stop()
        shutil.rmtree(work, ignore_errors=True)


def _enrollment(platform: EmbeddedPlatform, uses: int) -> str:
    said = platform.manage(
        "create_enrollment", "--tenant", TENANT, "--kit", str(platform.kit), "--json", "--uses", str(uses),
        "--minutes", "60",
    )  # fmt: skip
    return str(json.loads(said.strip().splitlines()[-1])["enrollment"])


def create_policy(platform: EmbeddedPlatform, name: str, cron: str, attempts: int, *to: str) -> None:
    """A policy that is due at a cron line in UTC, without jitter."""
    values = {
        "selection.sources": ["/srv"],
        "schedule.kind": "cron",
        "schedule.cron": cron,
        "schedule.zone": "utc",
        "schedule.jitter_minutes": 0,
        "schedule.attempts": attempts,
    }
    written = [f"--set={setting}={json.dumps(value)}" for setting, value in values.items()]
    platform.manage("create_policy", name, "--tenant", TENANT, *written, *to)


def wait_for(what: str, seconds: float, holds: Callable[[], bool]) -> float:
    """Seconds until it held. AssertionError if it did not in time."""
    begun = time.monotonic()
    while not holds():
        assert time.monotonic() - begun < seconds, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.5)
    return time.monotonic() - begun


def say(text: str) -> None:
    """A line of the soak's own report."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)
