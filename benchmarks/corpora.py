"""Deterministic corpora. `python -m benchmarks.corpora` builds what is missing and prints counts and digests.

    media   24 files of 64 MiB of seeded random bytes: nothing compresses, nothing repeats
    code    about 69,000 real small and middle files, 1 GiB, copied from what this machine has installed
    tiny    100,000 files of 0 to 4 KiB in 1,000 directories, made of words, compressible like real text
    image   one file of 1 GiB: parts of installed files, random parts, empty parts

`media` and `tiny` are the same everywhere. `code` and `image` hold what is installed: compare figures of two machines
only where the digests are equal. A corpus that is there is used again if its digest still is what was written down.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import stat
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import deltas

MIB = 1 << 20
SEED = 71_530
GENERATOR = 1
"""Raised whenever a corpus comes out different from what this file made before."""

MEDIA_FILES, MEDIA_FILE_BYTES = 24, 64 * MIB
CODE_FILES, CODE_BYTES, CODE_LARGEST = 69_000, 1024 * MIB, 64 * MIB
TINY_DIRECTORIES, TINY_FILES_EACH, TINY_LARGEST = 1000, 100, 4096
IMAGE_BYTES, IMAGE_PART = 1024 * MIB, 16 * MIB
EPOCH = 1_700_000_000
TEXT = """
    archive bitmap bucket carrier catalogue cipher column commit cursor digest drawer envelope epoch extent fence folder
    frame gateway handle header journal kernel ledger letter manifest marker minute number object offset packet parcel
    prefix record remote repair return sample schedule segment server signal socket source stream string table tenant
    thread ticket token trailer update vault vector version volume window worker writer zone"""
WORDS = TEXT.split()


@dataclass(frozen=True)
class Corpus:
    """A corpus that is ready. `digest`: SHA-256 over the sorted relative names and the SHA-256 of each content."""

    name: str
    path: Path
    files: int
    bytes: int
    digest: str
    scale: float
    generator: int = GENERATOR


def default_root() -> Path:
    """$BENCH_ROOT, or a directory below the system's temporary one."""
    return Path(os.environ.get("BENCH_ROOT") or Path(tempfile.gettempdir()) / "strongroom-bench")


def prepare(name: str, root: Path, scale: float = 1.0) -> Corpus:
    """The corpus, built below ROOT unless it is there and unchanged. A delta that was left applied is undone first."""
    place = root / f"corpora-{scale:g}"
    place.mkdir(parents=True, exist_ok=True)
    path, note = place / name, place / f"{name}.json"
    deltas.undo(path)
    if note.exists() and path.is_dir():
        known = json.loads(note.read_text())
        files, size, digest = describe(path)
        if (known["digest"], known["generator"]) == (digest, GENERATOR):
            return Corpus(name, path, files, size, digest, scale)
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    BUILDERS[name](path, scale)
    corpus = Corpus(name, path, *describe(path), scale)
    note.write_text(json.dumps({**asdict(corpus), "path": str(path)}) + "\n")
    return corpus


def names_below(directory: Path) -> list[str]:
    """Relative names of all files, in one order on every machine."""
    found: list[str] = []
    for base, directories, files in os.walk(directory):
        directories.sort()
        found.extend(os.path.relpath(os.path.join(base, name), directory) for name in files)
    return sorted(found)


def describe(directory: Path) -> tuple[int, int, str]:
    """Files, bytes and digest of a tree."""
    digest, size = hashlib.sha256(), 0
    names = names_below(directory)
    for name in names:
        with open(directory / name, "rb") as handle:
            digest.update(os.fsencode(name) + b"\0" + hashlib.file_digest(handle, "sha256").digest())
            size += handle.tell()
    return len(names), size, digest.hexdigest()


def text(source: random.Random, size: int) -> bytes:
    """SIZE bytes of words with a number now and then: zstd makes about a third of it, as of real text."""
    parts, length = [], 0
    while length < size:
        part = source.choice(WORDS) if source.random() < 0.8 else f"{source.getrandbits(40):x}"
        parts.append(part)
        length += len(part) + 1
    return " ".join(parts).encode()[:size]


def write_random(path: Path, source: random.Random, size: int) -> None:
    """A file of SIZE random bytes, written in bounded pieces."""
    with open(path, "wb") as handle:
        while size > 0:
            handle.write(source.randbytes(min(MIB, size)))
            size -= MIB


def build_media(path: Path, scale: float) -> None:
    """24 incompressible files."""
    for number in range(MEDIA_FILES):
        file = path / f"clip-{number:02d}.bin"
        write_random(file, random.Random(SEED * 1000 + number), int(MEDIA_FILE_BYTES * scale))
        os.utime(file, (EPOCH + number, EPOCH + number))


def build_tiny(path: Path, scale: float) -> None:
    """Directories of a hundred small texts."""
    source = random.Random(SEED + 1)
    for number in range(max(1, int(TINY_DIRECTORIES * scale))):
        directory = path / f"d{number // 100:02d}" / f"letters-{number:04d}"
        directory.mkdir(parents=True)
        for each in range(TINY_FILES_EACH):
            file = directory / f"{each:03d}.txt"
            file.write_bytes(text(source, source.randrange(TINY_LARGEST + 1)))
            os.utime(file, (EPOCH + number, EPOCH + number))


def code_sources() -> list[Path]:
    """Where real files are, in the order in which they are taken."""
    system = [Path("/usr/share"), *sorted(Path("/usr/lib").glob("python3*"))]
    return [*system, Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("purelib"))]


def installed_files(sources: list[Path], largest: int) -> Iterator[tuple[Path, Path]]:
    """(source, file) of each regular file, sorted. Compiled Python is left out: it comes and goes while we look."""
    for source in sources:
        for base, directories, files in os.walk(source):
            directories[:] = sorted(name for name in directories if name != "__pycache__")
            for name in sorted(files):
                facts = os.lstat(os.path.join(base, name))
                if stat.S_ISREG(facts.st_mode) and facts.st_size <= largest:
                    yield source, Path(base, name)


def build_code(path: Path, scale: float) -> None:
    """Copies of installed files until there are enough; below full scale a fixed sample of the same selection."""
    count = size = 0
    for source, file in installed_files(code_sources(), CODE_LARGEST):
        bytes_now = file.stat().st_size
        if count >= CODE_FILES or size + bytes_now > CODE_BYTES:
            return
        count, size = count + 1, size + bytes_now
        target = path / str(source).strip("/").replace("/", "-") / file.relative_to(source)
        if int.from_bytes(hashlib.sha256(os.fsencode(target.relative_to(path))).digest()[:4]) >= scale * 2**32:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
        times = file.stat()
        os.utime(target, ns=(times.st_mtime_ns, times.st_mtime_ns))


def installed_bytes() -> Iterator[bytes]:
    """The content of installed programs and libraries, without an end: it begins anew when all was read."""
    while True:
        for _, file in installed_files([Path("/usr/lib"), Path(sysconfig.get_path("purelib"))], CODE_LARGEST):
            yield file.read_bytes().ljust(4096, b"\0")


def build_image(path: Path, scale: float) -> None:
    """Of each eight parts one is random, one is empty, and six hold installed files."""
    source, content, held = random.Random(SEED + 2), installed_bytes(), bytearray()
    part = int(IMAGE_PART * scale) // 4096 * 4096
    with open(path / "disk.img", "wb") as handle:
        for number in range(IMAGE_BYTES // IMAGE_PART):
            if number % 8 in {3, 6}:
                handle.write(source.randbytes(part) if number % 8 == 3 else bytes(part))
                continue
            while len(held) < part:
                held += next(content)
            handle.write(held[:part])
            del held[:part]
    os.utime(path / "disk.img", (EPOCH, EPOCH))


BUILDERS = {"media": build_media, "code": build_code, "tiny": build_tiny, "image": build_image}


def main() -> int:
    """Build and print, one JSON object a corpus."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(BUILDERS))
    parser.add_argument("--root", type=Path, default=default_root())
    parser.add_argument("--scale", type=float, default=1.0)
    options = parser.parse_args()
    for name in options.names:
        corpus = prepare(name, options.root, options.scale)
        print(json.dumps({**asdict(corpus), "path": str(corpus.path)}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
