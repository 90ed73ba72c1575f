"""`python -m tests.soak.flushing [MINUTES] [AGENTS]`: Valkey forgets everything every 20 seconds, under load.

Schedules are due each minute, agents back up, workers verify. In the end every job must be done, each once: the agents'
own list of what they did, the snapshots and the rows must agree.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter

import redis

from benchmarks.crowds import Crowd
from benchmarks.embedded_platform import EmbeddedPlatform
from tests.soak.crowded import EVERY_MINUTE, create_policy, crowded_platform, say, wait_for

EVERY_SECONDS = 20.0
POLICIES = 3
QUIET_SECONDS = 600.0
LEFT = """
    SELECT count(*) FROM jobs_job WHERE kind IN ('backup', 'verify', 'deduplicate') AND finished_at IS NULL"""
"""The way of a backup; what the platform does by its own calendar goes on."""
ENDS = """
    SELECT json_object_agg(what, n) FROM (
        SELECT kind || ' ' || state AS what, count(*) AS n FROM jobs_job
        WHERE kind IN ('backup', 'verify', 'deduplicate') GROUP BY 1) ends"""
GAPS = """
    SELECT count(*) FROM (
        SELECT due_at - lag(due_at) OVER (PARTITION BY policy_id, machine_id ORDER BY due_at) AS pause,
               lag(finished_at) OVER (PARTITION BY policy_id, machine_id ORDER BY due_at) AS before, due_at
        FROM jobs_job WHERE kind = 'backup') run
    WHERE pause > interval '1 minute' AND before < due_at - interval '1 minute'"""
"""Due times that nobody made a job of, though the run before had ended by then."""
DONE = "SELECT json_agg(id) FROM jobs_job WHERE kind = 'backup' AND state = 'done'"
SNAPSHOTS = "SELECT json_object_agg(state, n) FROM (SELECT state, count(*) n FROM catalog_snapshot GROUP BY 1) x"
PAUSE = "UPDATE policies_policy SET paused_at = now()"


def main() -> int:
    """0 if every promise held; an AssertionError names what did not."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    agents = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    with crowded_platform(agents) as (platform, crowd):
        for number in range(POLICIES):
            create_policy(platform, f"load {number}", EVERY_MINUTE, 5, "--everywhere")
        flushes = _flush(platform, minutes * 60)
        platform.database.execute(PAUSE)
        took = wait_for("all work is done", QUIET_SECONDS, lambda: platform.ask(LEFT) == 0)
        say(f"{flushes} times forgotten; the rest was done {took:.0f} s after the load's end")
        _judge(platform, crowd)
    return 0


def _flush(platform: EmbeddedPlatform, seconds: float) -> int:
    """Forget everything again and again for so long; how often."""
    run = json.loads((platform.home / "run.json").read_text())["environment"]
    broker, over, flushes = redis.Redis.from_url(run["REDIS_URL"]), threading.Event(), 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        over.wait(min(EVERY_SECONDS, max(0.0, until - time.monotonic())))
        broker.flushall()
        flushes += 1
        say(f"forgotten; {platform.ask(ENDS)}")
    return flushes


def _judge(platform: EmbeddedPlatform, crowd: Crowd) -> None:
    ledger, ends, snapshots = crowd.start("state").result(60), platform.ask(ENDS), platform.ask(SNAPSHOTS)
    did = Counter(ledger["done"])
    done = {one.replace("-", "") for one in platform.ask(DONE)}
    assert all(what.endswith(" done") for what in ends), f"work that did not end well: {ends}"
    assert set(did) == done, "what the agents did is not what the rows say"
    assert set(did.values()) == {1}, "a job was done twice"
    assert snapshots == {"verified": len(done)}, f"{len(done)} jobs made {snapshots}"
    assert ledger["snapshots"] == len(done)
    assert platform.ask(GAPS) == 0, "a due time was passed over"
    assert not ledger["drops"], f"connections broke: {ledger['drops'][:3]}"
    say(f"flushing: {len(done)} backups, each done once, all verified; {ends}")


if __name__ == "__main__":
    sys.exit(main())
