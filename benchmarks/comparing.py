"""`python -m benchmarks.comparing ORIGINAL RESTORED`: exit code 0 if the trees are equal, 1 with examples if not.

The comparison is the demonstration's: standard library only, no code of the agent, content and metadata, both ways.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from backup_platform.embedded.demonstration.comparing import compare_trees


def differences(original: Path, restored: Path) -> str:
    """What differs, or an empty string."""
    command = [sys.executable, "-m", "benchmarks.comparing", str(original), str(restored)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800)
    return "" if finished.returncode == 0 else finished.stdout + finished.stderr[-500:]


def main() -> int:
    """Compare and print."""
    result = compare_trees(os.fsencode(sys.argv[1]), os.fsencode(sys.argv[2]))
    print(f"{result.files} files, {result.differences} differences")
    print("\n".join(result.examples))
    return 0 if result.equal else 1


if __name__ == "__main__":
    sys.exit(main())
