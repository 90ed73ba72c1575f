"""`launcher.py REPORT COMMAND…`: runs the command to its end and writes what it cost to the file REPORT.

A small process between the harness and what it measures: Linux hands the peak memory of whoever starts a program on to
the program's ru_maxrss, and this one's is about 9 MiB. It imports next to nothing for that reason.
"""

import os
import sys
import time


def main() -> int:
    """Write wall seconds, user seconds, system seconds, peak KiB and exit code, parted by spaces."""
    report, command = sys.argv[1], sys.argv[2:]
    began = time.perf_counter()
    pid = os.posix_spawnp(command[0], command, os.environ)
    _, status, used = os.wait4(pid, 0)
    wall = time.perf_counter() - began
    code = os.waitstatus_to_exitcode(status)
    with open(report, "w") as handle:
        handle.write(f"{wall} {used.ru_utime} {used.ru_stime} {used.ru_maxrss} {code}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
