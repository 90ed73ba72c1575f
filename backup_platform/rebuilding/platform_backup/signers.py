"""Which keys sign the operator's platform: a text file that he keeps with his own key, away from every target.

A line is ``SHA-256 of the key (64 hex digits) [number of the newest backup when it was written [words]]``; empty lines
and those that begin with # say nothing.
"""

from __future__ import annotations

import re
from pathlib import Path

from backup_platform.embedded.durable_files import write_private
from backup_platform.rebuilding.errors import RebuildRefused

SIGNERS = "platform-signers.txt"
MAX_FILE = 64 * 1024
LINE = re.compile(r"([0-9a-f]{64})(?:\s+([0-9]{1,18})(?:\s+(.*))?)?", re.ASCII)
HEADING = """\
# Who signs this platform's own backups: SHA-256 of the key, number of the newest backup then, when that was.
# Keep this file with operator-key.pem, off the platform's host and away from its targets.
"""


def hash_of(text: str) -> bytes:
    """A key's hash as people write it. RebuildRefused when it is none."""
    plain = text.strip().lower()
    if not re.fullmatch(r"[0-9a-f]{64}", plain, re.ASCII):
        raise RebuildRefused(f"{text[:80]!r} is no key's hash: 64 hex digits, as `platform_signing_key` prints them.")
    return bytes.fromhex(plain)


def read_signers(path: Path) -> dict[bytes, int]:
    """The hashes of the keys that count, and the number each had reached. RebuildRefused when the file is no such list.

    OSError when it cannot be read, FileNotFoundError among them.
    """
    with path.open("rb") as file:
        text = file.read(MAX_FILE + 1)
    if len(text) > MAX_FILE:
        raise RebuildRefused(f"{path} is too long for a list of signers.")
    lines = text.decode("utf-8", "replace").splitlines()
    return dict(_signer(path, at, line) for at, line in enumerate(lines, 1) if _says_something(line))


def note_signer(path: Path, key_hash: bytes, number: int, words: str) -> None:
    """Write a key into the list, or its new number; the file is made if there is none. What else it says stays."""
    try:
        read_signers(path)  # what is no list of signers is not written to
        lines = path.read_text("utf-8", "replace").splitlines()  # as it was read: a note may be in any encoding
        kept = [line for line in lines if not line.strip().lower().startswith(key_hash.hex())]
    except FileNotFoundError:
        kept = HEADING.splitlines()
    write_private(path, "\n".join([*kept, f"{key_hash.hex()} {number} {words}"]) + "\n")


def _says_something(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _signer(path: Path, at: int, line: str) -> tuple[bytes, int]:
    found = LINE.fullmatch(line.strip().lower())
    if found is None:
        raise RebuildRefused(f"{path}, line {at}: a line is the key's hash (64 hex digits), then the newest number.")
    return bytes.fromhex(found[1]), int(found[2] or 0)
