"""The files of packs, wherever they are: in a spool, in the home directory, or at targets.

*Error is not absence*: `PackGone` is raised only when every place that should have the pack has said that it has not.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import BinaryIO, cast

from django.conf import settings
from django.db.models import F

from backup_platform.catalog import stores
from backup_platform.catalog.block_cache import BlockCache
from backup_platform.catalog.errors import RecordUnavailable
from backup_platform.catalog.models import Copy, CopyState, Pack, PackPlace
from backup_platform.catalog.remote_files import RemoteFile
from backup_platform.storage.base import NotFound, Store, StoreError
from backup_platform.targets.models import Target, TargetState
from backup_platform.targets.opening import open_store


class PackGone(Exception):
    """The pack's file is not where its row said: moved meanwhile, or lost."""


def open_pack_file(pack: Pack) -> BinaryIO:
    """A pack's file for reading, from this host if it is here, else by ranges from every target that has a good copy.

    PackGone when no place has it, RecordUnavailable when that cannot be said. Copies are looked up in the scope in
    force.
    """
    if pack.place == PackPlace.GONE:
        raise PackGone  # reclaimed: what may still lie somewhere is being removed
    away: RecordUnavailable | None = None
    try:
        return open_local_file(pack)
    except PackGone:
        pass
    except RecordUnavailable as fault:
        away = fault
    copies = good_copies(pack)
    if copies:
        return _remote(pack, copies, read_cache())
    raise away or PackGone


def store_of(target: Target) -> Store:
    """The store of a target that holds copies. Raises StoreUnavailable and SecretUnreadable, in plain words."""
    return open_store(target)


def open_local_file(pack: Pack) -> BinaryIO:
    """The pack's file in its spool or the home directory, and nowhere else; needs no database.

    PackGone when it is not there, RecordUnavailable when that cannot be said.
    """
    if pack.place not in (PackPlace.SPOOL, PackPlace.TARGET):
        raise PackGone
    try:
        if pack.place == PackPlace.TARGET:
            return stores.local_target().open(pack.path)
        return _open_spool_file(pack.path)
    except (NotFound, FileNotFoundError):
        raise PackGone from None
    except (OSError, StoreError) as fault:
        raise RecordUnavailable(f"A pack cannot be read just now ({type(fault).__name__}).") from fault


def open_copy(copy: Copy, *, cached: bool = False) -> BinaryIO:
    """One copy at its target, and no other place; `copy` comes with its target and pack.

    Bytes come from the target itself unless `cached`. Nothing is asked before the first read: see RemoteFile.
    """
    return _remote(copy.pack, [copy], read_cache() if cached else None)


def good_copies(pack: Pack) -> list[Copy]:
    """The copies of a pack that count, those at targets that answer first."""
    good = Copy.objects.filter(pack_id=pack.pk, state=CopyState.GOOD).exclude(target__state=TargetState.RETIRED)
    return list(good.select_related("target").order_by(F("target__away_since").asc(nulls_first=True), "pk"))


def openings(pack: Pack) -> Iterator[Callable[[], BinaryIO]]:
    """A way to open each place of a pack by itself, past the cache: for who found something wrong with the first."""
    yield partial(open_local_file, pack)
    copies = good_copies(pack) if pack.place != PackPlace.GONE else []
    if copies:
        read_cache().forget(pack.uid.hex)
    for copy in copies:
        yield partial(_remote, pack, [copy], None)


def read_cache() -> BlockCache:
    """This host's cache of blocks that came from targets, below the home."""
    return _cache_at(stores.home() / "cache" / "packs", settings.STRONGROOM_READ_CACHE_BYTES)


@lru_cache(maxsize=4)
def _cache_at(root: Path, limit: int) -> BlockCache:
    return BlockCache(root, limit)


def _remote(pack: Pack, copies: list[Copy], cache: BlockCache | None) -> BinaryIO:
    sources = [(partial(store_of, copy.target), copy.key) for copy in copies]
    return cast("BinaryIO", RemoteFile(sources, pack.uid.hex, pack.bytes, cache))


def _open_spool_file(path: str) -> BinaryIO:
    """Sealing renames a pack before its row says so, so an `.open` file that is gone is looked for as `.pack`."""
    try:
        return _open_plain(path)
    except FileNotFoundError:
        if not path.endswith(".open"):
            raise
        return _open_plain(path.removesuffix(".open") + ".pack")


def _open_plain(path: str) -> BinaryIO:
    place = stores.spool_path(path)
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        if not place.parent.is_dir():  # a spool is never removed: its disk is not mounted
            raise OSError(errno.ENODEV, "the spool is away") from None
        raise
    return os.fdopen(descriptor, "rb", buffering=0)
