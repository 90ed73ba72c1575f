"""What changes in a corpus between two backups, applied in place and undone again.

In place, because a backup program's cache must see the unchanged files as unchanged (same inode, same times). What is
overwritten or deleted is kept first, and the list of it is written before anything changes: a run that was killed
leaves a delta that the next run undoes.

    media         1 MiB overwritten in one file, one new file
    code, tiny    1 % of the files get 100 bytes inserted, 0.5 % are new, 0.5 % are deleted
    image         1 % of the 4 KiB blocks overwritten all over, and 1 MiB inserted at 30 %: the worst case for chunks
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
from pathlib import Path

BLOCK = 4096
SEED = 90_210
NEW_TEXT = {"tiny": 4096, "code": 20_000}


def apply(corpus: Path, *, seed: int = SEED, keep: bool = True, kind: str = "") -> None:
    """Change the tree CORPUS as its KIND (default: its name) says. Raises FileExistsError if a delta is applied."""
    change = {"media": change_media, "image": change_image}.get(kind or corpus.name, change_files)
    journal = Journal(corpus, keep=keep)
    change(corpus, random.Random(seed), journal)


class Journal:
    """What must be put back and what must go, known before the first change."""

    def __init__(self, corpus: Path, *, keep: bool) -> None:
        self.corpus, self.keep = corpus, keep
        self.place = corpus.with_name(f"{corpus.name}.saved")
        if keep:
            self.place.mkdir()

    def begin(self, altered: list[str], added: list[str]) -> None:
        """Keep what will be altered, then write the list down."""
        if not self.keep:
            return
        for number, name in enumerate(altered):
            shutil.copy2(self.corpus / name, self.place / str(number))
        listed = self.place / "journal.json"
        with open(listed.with_suffix(".new"), "w") as handle:
            json.dump({"altered": altered, "added": added}, handle)
            handle.flush()
            os.fsync(handle.fileno())
        listed.with_suffix(".new").rename(listed)


def undo(corpus: Path) -> None:
    """Put the original bytes, times and names back. Does nothing where no delta is applied."""
    place = corpus.with_name(f"{corpus.name}.saved")
    listed = place / "journal.json"
    if listed.exists():
        journal = json.loads(listed.read_text())
        for name in journal["added"]:
            (corpus / name).unlink(missing_ok=True)
        for number, name in enumerate(journal["altered"]):
            shutil.copy2(place / str(number), corpus / name)
    shutil.rmtree(place, ignore_errors=True)


def change_media(corpus: Path, source: random.Random, journal: Journal) -> None:
    """One file altered in its middle, one file more."""
    from benchmarks.corpora import MIB, write_random

    journal.begin(["clip-07.bin"], ["clip-new.bin"])
    size = (corpus / "clip-07.bin").stat().st_size
    with open(corpus / "clip-07.bin", "r+b") as handle:
        handle.seek(size // 2 + 17)
        handle.write(source.randbytes(min(MIB, size // 4)))
    write_random(corpus / "clip-new.bin", source, size)


def change_image(corpus: Path, source: random.Random, journal: Journal) -> None:
    """Blocks overwritten all over the image, and something inserted."""
    from benchmarks.corpora import IMAGE_BYTES, MIB

    journal.begin(["disk.img"], [])
    image = corpus / "disk.img"
    blocks = image.stat().st_size // BLOCK
    inserted = source.randbytes(MIB * blocks * BLOCK // IMAGE_BYTES)
    with open(image, "r+b") as handle:
        for number in sorted(source.sample(range(blocks), max(1, blocks // 100))):
            handle.seek(number * BLOCK)
            handle.write(source.randbytes(BLOCK))
    insert(image, int(blocks * 0.3) * BLOCK + 1234, inserted)


def insert(file: Path, place: int, more: bytes) -> None:
    """Insert bytes by moving what follows, from the end, in pieces: the inode stays."""
    step = 8 << 20
    with open(file, "r+b") as handle:
        position = handle.seek(0, os.SEEK_END)
        while position > place:
            length = min(step, position - place)
            position -= length
            handle.seek(position)
            piece = handle.read(length)
            handle.seek(position + len(more))
            handle.write(piece)
        handle.seek(place)
        handle.write(more)


def change_files(corpus: Path, source: random.Random, journal: Journal) -> None:
    """A few files altered, added and deleted."""
    from benchmarks.corpora import names_below, text

    names = names_below(corpus)
    altered, others = max(1, len(names) // 100), max(1, len(names) // 200)
    chosen = source.sample(names, altered + others)
    directories = sorted({os.path.dirname(name) for name in names})
    mark = source.getrandbits(32)
    added = [os.path.join(source.choice(directories), f"new-{mark:08x}-{n}.txt") for n in range(others)]
    journal.begin(chosen, added)
    for name in chosen[:altered]:
        content = bytearray((corpus / name).read_bytes())
        place = source.randrange(len(content) + 1)
        content[place:place] = text(source, 100)
        (corpus / name).write_bytes(content)
    for name in chosen[altered:]:
        (corpus / name).unlink()
    for name in added:
        (corpus / name).write_bytes(text(source, source.randrange(200, NEW_TEXT.get(corpus.name, 4096))))


def main() -> int:
    """Apply or undo, as a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["apply", "undo"])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--for-good", action="store_true", help="keep nothing; the delta cannot be undone")
    options = parser.parse_args()
    if options.what == "undo":
        undo(options.corpus)
    else:
        apply(options.corpus, seed=options.seed, keep=not options.for_good)
    os.sync()
    return 0


if __name__ == "__main__":
    sys.exit(main())
