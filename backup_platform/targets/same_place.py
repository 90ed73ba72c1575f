"""Whether two targets are one place under two names: what lies there twice is one copy, and one fault takes it.

A directory may be reached by a link or mounted twice, an endpoint written in several ways. Texts say little, so
directories are compared by what they are, and endpoints by host and port.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings

from backup_platform.targets.models import Target, TargetKind

PORTS = {"https": 443, "http": 80}


def same_place(one: Target, other: Target) -> bool:
    """Whether the same key is the same object at both."""
    return same_room(one, other) and one.prefix == other.prefix


def same_room(one: Target, other: Target) -> bool:
    """Whether both are in the same directory, or in the same bucket."""
    if one.pk == other.pk:
        return True
    if one.kind != other.kind:
        return False
    if one.kind == TargetKind.LOCAL:
        return same_directory(directory_of(one), directory_of(other))
    return one.bucket == other.bucket and _host(one) == _host(other)


def is_home_store(target: Target) -> bool:
    """Whether a target that is not the home directory's own lies in its store all the same."""
    return target.kind == TargetKind.LOCAL and not target.home and same_directory(Path(target.path), home_store())


def directory_of(target: Target) -> Path:
    """The directory of a local target, the home directory's among them."""
    return home_store() if target.home else Path(target.path)


def home_store() -> Path:
    """The store of this installation, which may be a link to another disk."""
    return Path(settings.STRONGROOM_HOME) / "store"


def same_directory(one: Path, other: Path) -> bool:
    """Whether two paths lead to one directory, by links and mounts too; of what is not there the names decide."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return os.path.realpath(one) == os.path.realpath(other)


def _host(target: Target) -> tuple[str, int]:
    """Host and port of a bucket's service; AWS, in whatever region, is one."""
    parts = urlsplit(target.endpoint or "https://s3.amazonaws.com")
    host = (parts.hostname or "").rstrip(".")
    if host.endswith(".amazonaws.com"):
        host = "s3.amazonaws.com"  # a bucket's name is its own in all of AWS
    return host, parts.port or PORTS.get(parts.scheme, 0)
