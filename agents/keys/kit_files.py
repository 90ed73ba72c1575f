"""The kit's directory: 0700 with files of 0600, written so that a crash never leaves half a kit that looks whole.

Everything is first made durable in a directory of its own inside, then moved into place, `kit.json` last: without it
nothing is a kit.
"""

from __future__ import annotations

import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

from agents.keys.faults import KitDamaged, KitFault
from agents.state import fsync_directory, write_private

RECOVERY_KEY = "recovery-key.pem"
SIGNING_KEY = "signing-key.pem"
MANIFEST = "kit.json"
PAGE = "recovery-kit.html"
REGISTRATION = "vault-registration.json"
KEY_FILES = (RECOVERY_KEY, SIGNING_KEY)
STAGING = ".unfinished"
MAX_FILE = 1024 * 1024


def prepare_directory(directory: Path) -> None:
    """Make the directory, or take an empty one; KitFault when something is in it or it cannot be kept private."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_empty(directory)
        directory.chmod(0o700)
        private = stat.S_IMODE(directory.stat().st_mode) == 0o700
    except OSError as fault:
        raise KitFault(f"The kit cannot be written to {directory}: {fault.strerror}.") from None
    if not private:
        raise KitFault(
            f"The file system of {directory} cannot keep files private.",
            "Make the kit on another one and copy it where you want to keep it.",
        )


def _check_empty(directory: Path) -> None:
    names = {entry.name for entry in directory.iterdir()}
    if MANIFEST in names:
        raise KitFault(f"{directory} already holds a kit, which is never overwritten.", "Name another directory.")
    if STAGING in names or names & set(KEY_FILES):
        raise KitFault(
            f"{directory} holds part of a kit whose making was interrupted.", "Remove that directory and try again."
        )
    if names:
        raise KitFault(f"{directory} is not empty: a kit needs a directory of its own.", "Name another directory.")


def write_kit(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write all files of a kit into a prepared directory; on a fault nothing is left behind."""
    staging = directory / STAGING
    try:
        staging.mkdir(mode=0o700)  # fails when another process is at it: one of the two wins
        try:
            _place(directory, staging, files)
        except BaseException:
            _take_back(directory, files)
            raise
    except OSError as fault:
        raise KitFault(f"The kit cannot be written to {directory}: {fault.strerror}.") from None


def _place(directory: Path, staging: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        write_private(staging / name, content)
    for name in sorted(files, key=lambda name: name == MANIFEST):
        if name == MANIFEST:
            fsync_directory(directory)
        (staging / name).rename(directory / name)
    staging.rmdir()
    fsync_directory(directory)


def _take_back(directory: Path, files: Mapping[str, bytes]) -> None:
    (directory / MANIFEST).unlink(missing_ok=True)
    for name in files:
        (directory / name).unlink(missing_ok=True)
    shutil.rmtree(directory / STAGING, ignore_errors=True)


def read_kit(directory: Path) -> tuple[bytes, dict[str, bytes]]:
    """Return kit.json and the key files; KitFault when there is no kit, KitDamaged when a part of it is missing."""
    manifest = _read(directory / MANIFEST)
    if manifest is None:
        if any((directory / name).exists() for name in (*KEY_FILES, STAGING)):
            raise KitDamaged(f"The kit in {directory} is not whole: {MANIFEST} is missing.", "Use another copy of it.")
        raise KitFault(f"There is no kit in {directory}: {MANIFEST} is not there.")
    files = {}
    for name in KEY_FILES:
        content = _read(directory / name)
        if content is None:
            raise KitDamaged(f"The kit in {directory} is not whole: {name} is missing.", "Use another copy of it.")
        files[name] = content
    return manifest, files


def read_key_file(directory: Path, name: str) -> bytes:
    """Return one key file outside a whole kit; KitFault when it is not there."""
    content = _read(directory / name)
    if content is None:
        raise KitFault(f"{name} is not in {directory}.")
    return content


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_FILE)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as fault:
        raise KitFault(f"{path} cannot be read: {fault.strerror}.") from None
