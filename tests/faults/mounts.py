"""File systems for a test, where root may mount: a small one in memory, and one on an image that can be copied."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

WAIT = 30


@cache
def cannot_mount() -> str:
    """Why nothing can be mounted here; empty when it can."""
    if os.geteuid() != 0:
        return "only root may mount"
    probe = Path(tempfile.mkdtemp(prefix="sr-mount-"))
    try:
        if _run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(probe)) != 0:
            return "this system does not let root mount"
        _run("umount", str(probe))
        return ""
    finally:
        probe.rmdir()


@cache
def cannot_loop() -> str:
    """Why no image can be mounted here; empty when it can."""
    if reason := cannot_mount():
        return reason
    if shutil.which("mkfs.ext4") is None:
        return "mkfs.ext4 is not installed"
    with tempfile.TemporaryDirectory(prefix="sr-loop-") as directory:
        image, there = Path(directory, "image"), Path(directory, "there")
        make_image(image, 8)
        there.mkdir()
        if _run("mount", "-o", "loop", str(image), str(there)) != 0:
            return "this system has no loop devices"
        _run("umount", str(there))
    return ""


@contextmanager
def tmpfs(directory: Path, mebibytes: int) -> Iterator[Path]:
    """A file system in memory at DIRECTORY, which is made, and removed again if it is empty then."""
    with _mounted(directory, "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=0700", "tmpfs"):
        yield directory


def make_image(image: Path, mebibytes: int) -> None:
    """A sparse file with an empty ext4 in it."""
    with image.open("wb") as file:
        file.truncate(mebibytes << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True, timeout=WAIT, capture_output=True)


@contextmanager
def mounted_image(image: Path, directory: Path) -> Iterator[Path]:
    """The file system of an image at DIRECTORY; its journal is replayed as after a power cut."""
    with _mounted(directory, "-o", "loop", str(image)):
        yield directory


@contextmanager
def _mounted(directory: Path, *arguments: str) -> Iterator[None]:
    directory.mkdir(mode=0o700, parents=True)
    subprocess.run(["mount", *arguments, str(directory)], check=True, timeout=WAIT, capture_output=True)
    try:
        yield
    finally:
        # A process that was killed a moment ago may hold it still; lazily, so that nothing stays behind.
        subprocess.run(["umount", "--lazy", str(directory)], check=False, timeout=WAIT, capture_output=True)
        directory.rmdir()


def _run(*command: str) -> int:
    return subprocess.run(command, check=False, timeout=WAIT, capture_output=True).returncode
