"""`python -m benchmarks.bundle_share AGENT_HOME`: which share of the bytes in its bundles the newest snapshot uses.

Only the agent knows: to the server a bundle is a sealed chunk like any other.
"""

from __future__ import annotations

import sys

from agents.engine.cache import Binding, Cache
from agents.state import AgentHome


def main() -> int:
    """Print the share, from 0 to 1."""
    home = AgentHome(sys.argv[1])
    machine = home.machine()
    cache = Cache(home.cache_path, Binding(machine.vault_id, machine.epoch, machine.machine_id))
    layout = cache.layout()
    if layout is None or not layout.bundles:
        print("The agent's cache says nothing of bundles.", file=sys.stderr)
        return 1
    used = sum(sum(segment.head.usage.values()) for segment in cache.segments(layout))
    print(used / sum(bundle.length for bundle in layout.bundles.values()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
