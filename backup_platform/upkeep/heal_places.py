"""The places where one pack's file stands or should stand: the home directory, and its copies at other targets."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import BinaryIO

from backup_platform.catalog import stores
from backup_platform.catalog.models import Copy, CopyState, Pack, PackPlace
from backup_platform.catalog.reading import PackGone, open_local_file
from backup_platform.secret_box import SecretUnreadable
from backup_platform.storage.base import NotFound, Store, StoreUnavailable
from backup_platform.targets.models import TargetState
from backup_platform.targets.opening import open_store

PARITY_ENDING = ".parity"
_FURTHER = re.compile(r"\.healed-[1-9](?=\.[a-z]+$)")
READ_FROM = (TargetState.ACTIVE, TargetState.PAUSED, TargetState.DRAINING)
"""A retired target is no longer asked."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pack's file should be. Without a copy: on this host (the home directory, or a spool)."""

    pack: Pack
    copy: Copy | None = None

    @property
    def subject(self) -> str:
        """What a job or a finding about it names."""
        return f"copy:{self.copy.pk}" if self.copy else f"pack:{self.pack.pk}"

    @property
    def name(self) -> str:
        """How people are told of it."""
        return self.copy.target.name if self.copy else "this server"

    @property
    def key(self) -> str:
        """The pack's key there; in a spool, its path."""
        return self.copy.key if self.copy else self.pack.path

    @property
    def counts_as_good(self) -> bool:
        """Whether its row says that it is whole."""
        return self.copy is None or self.copy.state == CopyState.GOOD

    def store(self) -> Store:
        """The store that holds it. StoreUnavailable when it is away, its credentials unreadable, or it is a spool."""
        if self.copy is not None:
            try:
                return open_store(self.copy.target)
            except SecretUnreadable as fault:
                raise StoreUnavailable(str(fault)) from None
        if self.pack.place == PackPlace.SPOOL:
            raise StoreUnavailable("The pack is still in its gateway's spool.")
        return stores.local_target()

    def open(self) -> BinaryIO:
        """Its file. NotFound when it is not there, StoreUnavailable or RecordUnavailable when that cannot be said."""
        if self.copy is not None:
            return self.store().open(self.copy.key)
        try:
            return open_local_file(self.pack)
        except PackGone:
            raise NotFound(f"{self.pack.uid.hex} is not there.") from None

    def open_parity(self) -> BinaryIO:
        """The parity beside it. NotFound when there is none."""
        return self.store().open(parity_key(self.key))


def usual_key(key: str) -> str:
    """The key that an object has when it was never healed."""
    return _FURTHER.sub("", key)


def further_key(key: str, number: int) -> str:
    """The key of an object's n-th healed file: `….healed-<n>.<ending>`, in the same folder."""
    stem, _, ending = usual_key(key).rpartition(".")
    return f"{stem}.healed-{number}.{ending}"


def parity_key(key: str) -> str:
    """The key of the parity of the pack under this key."""
    return usual_key(key) + PARITY_ENDING


def places_of(pack: Pack) -> list[Place]:
    """Every place that has, or should have, this pack: this host first, then copies that count, then the others.

    One that is to leave is still there: until its object goes, it may be what is left of the right bytes.
    """
    places = [Place(pack)] if pack.place in (PackPlace.SPOOL, PackPlace.TARGET) else []
    copies = Copy.objects.filter(
        pack=pack, state__in=[CopyState.GOOD, CopyState.DAMAGED, CopyState.LEAVING], target__state__in=READ_FROM
    ).select_related("target", "pack__vault")
    ordered = sorted(copies, key=lambda copy: (copy.state != CopyState.GOOD, copy.target.away_since is not None))
    return places + [Place(pack, copy) for copy in ordered]
