"""Mutated input of every kind: only documented errors may come out, soon, and within a bounded memory.

    python -m tests.soak.mutations [--count 1000000] [--start 0] [--seed 1]

Case N of a seed is always the same bytes for the same decoder, so a run can be cut, continued (`--start`) and a failure
replayed (`--start N --count 1`).
"""

from __future__ import annotations

import argparse
import random
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

CASE_SECONDS = 5.0
"""Longer than this for one input is a hang."""
MEMORY = 256 << 20
"""What decoding may need beyond what the process had after its start."""


@dataclass(frozen=True)
class Kind:
    """A decoder under attack. `attack` gets one input and raises only what is not documented."""

    name: str
    weight: int
    seeds: list[bytes]
    attack: Callable[[bytes, random.Random], bool]
    """Whether the input was refused."""
    wild: bool = True
    """Whether inputs may be of random bytes altogether."""


class Hang(Exception):
    """One input took too long."""


def mutate(data: bytes, dice: random.Random) -> bytes:
    """One to five changes: bits, bytes, lengths, cuts, repeats, swaps."""
    changed = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 2, 3, 5))):
        at = dice.randrange(len(changed) + 1)
        match dice.randrange(8):
            case 0 if at < len(changed):
                changed[at] ^= 1 << dice.randrange(8)
            case 1 if at < len(changed):
                changed[at] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))
            case 2:
                changed[at : at + dice.choice((1, 2, 4, 8))] = b""
            case 3:
                changed[at:at] = dice.randbytes(dice.choice((1, 2, 4, 40)))
            case 4:
                changed[at : at + 4] = dice.choice((b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\x00\x10\x00\x00"))
            case 5:
                del changed[at:]
            case 6:
                changed[at:at] = changed[at : at + dice.choice((1, 16, 200))]
            case _:
                other = dice.randrange(len(changed) + 1)
                changed[at : at + 8], changed[other : other + 8] = changed[other : other + 8], changed[at : at + 8]
    return bytes(changed)


def case(kinds: list[Kind], seed: int, number: int) -> tuple[Kind, bytes, random.Random]:
    """Input NUMBER of a seed."""
    dice = random.Random(f"{seed}/{number}")
    (kind,) = dice.choices(kinds, [kind.weight for kind in kinds])
    if kind.wild and dice.random() < 0.05:
        return kind, dice.randbytes(dice.randrange(300)), dice
    return kind, mutate(dice.choice(kind.seeds), dice), dice


def run(kinds: list[Kind], *, seed: int, start: int, count: int, every: int = 50_000) -> Counter[str]:
    """Try them; returns how many of each kind, and how many of all were refused. Raises at the first fault."""
    tried: Counter[str] = Counter()
    signal.signal(signal.SIGALRM, _too_long)
    began = time.monotonic()
    for number in range(start, start + count):
        kind, data, dice = case(kinds, seed, number)
        signal.setitimer(signal.ITIMER_REAL, CASE_SECONDS)
        try:
            refused = kind.attack(data, dice)
        except BaseException:
            print(f"case {number} of seed {seed}: {kind.name}, {len(data)} bytes: {data[:200].hex()}", file=sys.stderr)
            raise
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        tried[kind.name] += 1
        tried["refused"] += refused
        if (number + 1 - start) % every == 0:
            print(f"{number + 1:,} tried, {time.monotonic() - began:.0f} s", flush=True)
    return tried


def _too_long(number: int, frame: object) -> None:
    raise Hang(f"one input took longer than {CASE_SECONDS} s")


def bound_memory() -> None:
    """From now on, an allocation beyond MEMORY fails, and fails the run."""
    with open("/proc/self/statm") as statm:
        mapped = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, resource.RLIM_INFINITY))


def peak() -> int:
    """The most memory that this process ever had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    from tests.soak.targets import all_kinds

    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--count", type=int, default=1_000_000)
    options.add_argument("--start", type=int, default=0)
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args()
    with all_kinds() as kinds:
        bound_memory()
        began, before = time.monotonic(), peak()
        tried = run(kinds, seed=given.seed, start=given.start, count=given.count)
    for name, number in sorted(tried.items()):
        print(f"{number:>9,}  {name}")
    print(
        f"mutations: {given.count:,} inputs of seed {given.seed} from {given.start:,} on, {tried['refused']:,} refused,"
        f" 0 undocumented errors, 0 hangs, peak memory {peak() >> 20} MiB ({(peak() - before) >> 20} MiB by decoding),"
        f" {time.monotonic() - began:.0f} s"
    )


if __name__ == "__main__":
    main()
