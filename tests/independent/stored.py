"""A real store with two snapshots, and what their source was like."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from pathlib import Path

from tests.end_to_end.stage import PASSPHRASE, Agent
from tests.end_to_end.trees import describe
from tests.independent import reader


def make_source(top: Path) -> Path:
    """Every kind of thing that a restore must bring back exactly."""
    chance = random.Random(41)
    (top / "nested" / "in" / "side").mkdir(parents=True)
    (top / "empty").write_bytes(b"")
    for number in range(40):
        (top / "nested" / f"small-{number}").write_bytes(chance.randbytes(chance.randrange(1, 3_000)))
    (top / "incompressible").write_bytes(chance.randbytes(8_000_000))
    (top / "compressible").write_bytes(b"the same line again\n" * 150_000)
    (top / "zeros").write_bytes(bytes(9_000_000))
    (top / "nested" / "link").symlink_to("in/side")
    (top / "dangling").symlink_to("/nowhere")
    hostile = os.fsencode(top) + b"/new\nline \xff\xfe"
    os.mkdir(hostile)
    Path(os.fsdecode(hostile + b"/\x1b[2J\r")).write_bytes(b"hostile")
    odd = {"empty": (0o7777, -1), "zeros": (0o401, 1), "compressible": (0o2710, 4_102_444_800_987_654_321)}
    for name, (mode, mtime) in (odd | {"nested/in/side": (0o1777, 123_456_789), "nested": (0o510, 77)}).items():
        os.chmod(top / name, mode)
        os.utime(top / name, ns=(mtime, mtime))
    os.utime(top / "dangling", ns=(5, 5), follow_symlinks=False)
    return top


@dataclass(frozen=True)
class Stored:
    """A store with two snapshots of one machine, and what the source was like at each."""

    home: Path
    kit: Path
    source: Path
    was: dict[int, dict[bytes, tuple]]

    def one(self, pattern: str) -> Path:
        """The file, or the first of several, that matches."""
        return sorted(self.home.rglob(pattern))[0]

    def statement(self, number: int) -> Path:
        return self.one(f"{number:020}-*.statement")

    def open(self, number: int = 1, *, spool: bool = True) -> reader.Snapshot:
        key = reader.open_kit(self.kit / "recovery-key.pem", PASSPHRASE)
        return reader.Snapshot(self.statement(number), *key, [self.home / "spool"] if spool else [])

    def restore(self, out: Path, number: int = 1, *, spool: bool = True) -> dict[bytes, tuple]:
        """Restore a snapshot and say what came."""
        reader.restore(self.open(number, spool=spool), os.fsencode(out))
        return self.look(out)

    def look(self, out: Path) -> dict[bytes, tuple]:
        return describe(out / self.source.relative_to("/"))


def back_up_twice(agent: Agent, kit: Path, source: Path, home: Path) -> Stored:
    """Two snapshots, of which the second has a changed, a new and a missing file."""
    make_source(source)
    was = {1: describe(source)}
    assert agent.json("backup", source, "--no-wait").summary["state"] == "received"
    (source / "new").write_bytes(b"new")
    (source / "nested" / "small-3").write_bytes(b"changed")
    (source / "dangling").unlink()
    was[2] = describe(source)
    assert agent.json("backup", source, "--no-wait").code == 0
    return Stored(home, kit, source, was)


def flip(file: Path, at: int) -> None:
    """Turn one bit around; counted from the end when negative."""
    data = bytearray(file.read_bytes())
    data[at] ^= 0x10
    file.write_bytes(data)
