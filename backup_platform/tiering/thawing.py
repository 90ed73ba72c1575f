"""Asking cold storage for packs that somebody needs, and looking how far that is.

To thaw costs money and takes hours. So reading never asks for it: only who restores, who drains a target, and an
operator by hand come here. Each call does a bounded amount, and the rows of copies remember what was asked for, so that
a thousand restores of one snapshot ask once.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from threading import Lock

from django.db.models import F
from django.utils import timezone

from backup_platform.catalog.errors import RecordUnavailable
from backup_platform.catalog.models import Copy, CopyState, Pack, PackPlace, PackState
from backup_platform.catalog.pack_files import PackGone, open_local_file, store_of
from backup_platform.secret_box import SecretUnreadable
from backup_platform.storage.base import NotFound, Store, StoreError
from backup_platform.storage.s3_thawing import Thawing
from backup_platform.targets.models import TargetState

logger = logging.getLogger(__name__)

LOOKS = 200
SECONDS = 10.0
"""What one call does at most; whoever asks for more asks again."""
LOOK_AGAIN = timedelta(minutes=4)
"""Nobody is asked sooner how far an object is: that takes hours, and each look is a request that is paid for."""
TRUST = timedelta(hours=1)
"""What was seen to be readable stays so for days; it is looked at again in case somebody waited for as long."""
DAYS = 7
"""How long what was thawed can be read, before it is cold again."""
PAGE = 1_000
REMEMBERED = 50_000
REMEMBERED_SECONDS = 900.0


class _Found(Enum):
    READABLE = "readable"
    WAITING = "waiting"
    ASKED = "asked"
    REFUSED = "refused"
    """It is cold and could not be asked for, or no place of it answers."""
    NOWHERE = "nowhere"
    """Every place has said that it has no such object: damage, and the business of whoever reads."""


@dataclass(slots=True)
class Progress:
    """How far the thawing of some packs is. All of them can be read when nothing waits, is refused or is left over."""

    asked: int = 0
    """Packs that were asked for just now."""
    waiting: int = 0
    """Packs that were asked for and cannot be read yet, those of just now among them."""
    bytes: int = 0
    """What those hold."""
    refused: int = 0
    more: bool = False
    """Not everything was looked at, or something became readable: asking again at once tells more."""

    def add(self, found: _Found, pack: Pack) -> None:
        """Count what was found out about a pack."""
        self.asked += found is _Found.ASKED
        self.refused += found is _Found.REFUSED
        if found in (_Found.ASKED, _Found.WAITING):
            self.waiting += 1
            self.bytes += pack.bytes


@dataclass(slots=True)
class _Work:
    """Packs sorted by what has to be done about them."""

    never: list[Pack] = field(default_factory=list)
    again: list[tuple[datetime, Pack]] = field(default_factory=list)
    copies: dict[int, list[Copy]] = field(default_factory=dict)


def thaw(pack_ids: Sequence[int], by: str) -> Progress:
    """Ask for those of these packs that lie in cold storage only, and say how far all of them are.

    In the tenant scope in force; `by` is shown beside what is thawed. Asking twice is asking once.
    """
    progress, work = Progress(), _Work()
    for start in range(0, len(pack_ids), PAGE):
        _sort(pack_ids[start : start + PAGE], work, progress)
    end, gained = time.monotonic() + SECONDS, 0
    queue = [*work.never, *(pack for _, pack in sorted(work.again, key=lambda item: item[0]))]
    for number, pack in enumerate(queue):
        if number >= LOOKS or time.monotonic() > end:
            progress.more = number < len(work.never) or gained > 0
            _count_left(queue[max(len(work.never), number) :], work, progress)
            break
        found = _look(pack, work.copies[pack.pk], by)
        gained += found is _Found.READABLE or (found is _Found.ASKED and number >= len(work.never))
        progress.add(found, pack)
    return progress


def _count_left(left: Sequence[Pack], work: _Work, progress: Progress) -> None:
    """Packs that were looked at before and not now: what could not be asked for then is said when its turn comes."""
    for pack in left:
        if any(copy.thaw_asked_at for copy in work.copies[pack.pk]):
            progress.add(_Found.WAITING, pack)


def _sort(pack_ids: Sequence[int], work: _Work, progress: Progress) -> None:
    """Leave out what can be read as far as anybody knows, and count what was looked at a moment ago."""
    now = timezone.now()
    packs = list(Pack.objects.filter(pk__in=pack_ids).exclude(place=PackPlace.GONE).order_by("pk"))
    copies = _copies(packs)
    for pack in packs:
        mine = copies.get(pack.pk, [])
        if not mine or _readable.knows(pack.pk) or _is_here(pack):
            continue
        asked = [copy for copy in mine if copy.thaw_asked_at]
        looked = max((copy.thaw_looked_at for copy in asked if copy.thaw_looked_at), default=None)
        if looked and any(copy.thawed_at for copy in asked) and now - looked < TRUST:
            continue
        if looked and not any(copy.thawed_at for copy in asked) and now - looked < LOOK_AGAIN:
            progress.add(_Found.WAITING, pack)
            continue
        work.copies[pack.pk] = mine
        looked = looked or max((copy.thaw_looked_at for copy in mine if copy.thaw_looked_at), default=None)
        if looked:
            work.again.append((looked, pack))
        else:
            work.never.append(pack)


def _copies(packs: Sequence[Pack]) -> dict[int, list[Copy]]:
    good = Copy.objects.filter(pack__in=packs, state=CopyState.GOOD).exclude(target__state=TargetState.RETIRED)
    found: defaultdict[int, list[Copy]] = defaultdict(list)
    for copy in good.select_related("target").order_by(F("target__away_since").asc(nulls_first=True), "pk"):
        found[copy.pack_id].append(copy)
    return found


def _is_here(pack: Pack) -> bool:
    """Whether this host has the pack's file, and nothing is known against it."""
    if pack.state == PackState.DAMAGED:
        return False
    try:
        open_local_file(pack).close()
    except (PackGone, RecordUnavailable):
        return False
    return True


def _look(pack: Pack, copies: Sequence[Copy], by: str) -> _Found:
    """Where a pack stands at its targets; asked for at the first that has it cold, unless another can be read."""
    under_way: list[Copy] = []
    cold: list[Copy] = []
    away = 0
    for copy in copies:
        try:
            state = _state(store_of(copy.target), copy.key)
        except NotFound:
            continue
        except (StoreError, SecretUnreadable) as fault:
            logger.warning("A target cannot be asked how far thawing is.", extra={"fault": str(fault)[:200]})
            away += 1
            continue
        if state is Thawing.READABLE:
            _note_readable(pack, copy)
            return _Found.READABLE
        (under_way if state is Thawing.UNDER_WAY else cold).append(copy)
    if under_way:
        return _note_waiting(under_way[0], by)
    if cold and (found := _ask(cold, by)) is _Found.ASKED:
        return found
    _note_looked(copies)
    return _Found.REFUSED if cold or away else _Found.NOWHERE


def _state(store: Store, key: str) -> Thawing:
    """Stores that know no cold class give what they have at once."""
    look = getattr(store, "thawing", None)
    if look is not None:
        return Thawing(look(key))
    store.size(key)
    return Thawing.READABLE


def _ask(cold: Sequence[Copy], by: str) -> _Found:
    for copy in cold:
        try:
            store_of(copy.target).thaw(copy.key, DAYS)  # type: ignore[attr-defined]
        except (StoreError, SecretUnreadable) as fault:
            logger.warning("Cold storage refuses to give a pack.", extra={"key": copy.key, "fault": str(fault)[:200]})
            Copy.objects.filter(pk=copy.pk).update(fault=f"It could not be asked for: {fault}"[:500])
            continue
        now = timezone.now()
        asked = {"thaw_asked_at": now, "thaw_looked_at": now, "thawed_at": None, "thaw_for": by[:200], "fault": ""}
        Copy.objects.filter(pk=copy.pk).update(**asked)
        return _Found.ASKED
    return _Found.REFUSED


def _note_waiting(copy: Copy, by: str) -> _Found:
    """Somebody may have asked past us, in the provider's own pages: then it is on our pages from now on too."""
    now = timezone.now()
    known = {"thaw_asked_at": copy.thaw_asked_at or now, "thaw_for": copy.thaw_for or by[:200]}
    Copy.objects.filter(pk=copy.pk).update(thaw_looked_at=now, thawed_at=None, **known)
    return _Found.WAITING


def _note_looked(copies: Sequence[Copy]) -> None:
    """Nothing came of it: so it is not looked at first again, and for ever, before what was never looked at."""
    never = Copy.objects.filter(pk__in=[copy.pk for copy in copies], thaw_asked_at=None)
    never.update(thaw_looked_at=timezone.now())


def _note_readable(pack: Pack, copy: Copy) -> None:
    if copy.thaw_asked_at is None:
        _readable.keep(pack.pk)
        return
    now = timezone.now()
    Copy.objects.filter(pk=copy.pk).update(thaw_looked_at=now, thawed_at=copy.thawed_at or now)


class _Remembered:
    """Packs that were never cold, as this process saw a while ago: a warm bucket is not asked about each one again."""

    def __init__(self) -> None:
        self._seen: OrderedDict[int, float] = OrderedDict()
        self._lock = Lock()

    def knows(self, pack_id: int) -> bool:
        """Whether a target could give it a while ago."""
        return time.monotonic() - self._seen.get(pack_id, -REMEMBERED_SECONDS) < REMEMBERED_SECONDS

    def keep(self, pack_id: int) -> None:
        """Remember one, and forget the oldest."""
        with self._lock:
            self._seen[pack_id] = time.monotonic()
            while len(self._seen) > REMEMBERED:
                self._seen.popitem(last=False)


_readable = _Remembered()
