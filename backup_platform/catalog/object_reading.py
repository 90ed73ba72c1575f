"""A snapshot's small objects, from whichever place has them: the home directory first, then every target.

Whoever serves them compares what a place gives with what the catalogue knows, so a place that rotted, lost an object or
burnt down costs nothing while another has it. *Error is not absence*: ObjectLost is raised only when every place has
answered.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial

from django.db.models import F

from backup_platform.catalog import stores
from backup_platform.catalog.errors import ObjectLost, RecordCold, RecordUnavailable
from backup_platform.catalog.models import Snapshot, SnapshotCopy
from backup_platform.catalog.pack_files import store_of
from backup_platform.jobs.models import JobKind
from backup_platform.jobs.services import enqueue
from backup_platform.secret_box import SecretUnreadable
from backup_platform.storage.base import NotFound, NotThawed, Store, StoreError, StoreUnavailable
from backup_platform.targets.models import TargetState

logger = logging.getLogger(__name__)

MOST_PLACES = 8
"""Targets asked for one object, those that answer first: each may take a minute to say that it is away."""

Right = Callable[[bytes], bool]
Opener = Callable[[], Store]


def read_object(snapshot: Snapshot, key: str, right: Right, most: int) -> bytes:
    """The object's bytes as some place has them and `right` finds them, in the tenant scope in force.

    `most`: bytes that such an object may have. ObjectLost when every place has answered and none has it,
    RecordUnavailable (RecordCold) when that cannot be said.
    """
    away, cold, asked = 0, 0, 0
    for opener in _places(snapshot):
        asked += 1
        try:
            data = opener().get(key, 0, most + 1)
        except NotFound:
            data = None
        except NotThawed:
            cold += 1
            continue
        except (StoreError, SecretUnreadable) as fault:
            logger.warning("A place of a snapshot cannot be read.", extra={"key": key, "fault": str(fault)[:200]})
            away += 1
            continue
        if data is not None and len(data) <= most and right(data):
            return data
        if asked == 1:
            _ask_to_heal(snapshot)
    if cold:
        raise RecordCold
    if away:
        raise RecordUnavailable("The places that have this object cannot be read just now.")
    raise ObjectLost(key)


def _places(snapshot: Snapshot) -> Iterator[Opener]:
    """Home, and then, only if that was not enough, the targets that were given the snapshot's objects."""
    yield stores.local_target
    there = SnapshotCopy.objects.filter(snapshot_id=snapshot.pk, objects_at__isnull=False, target__home=False)
    there = there.exclude(target__state=TargetState.RETIRED).select_related("target")
    found = there.order_by(F("target__away_since").asc(nulls_first=True), "pk")[: MOST_PLACES + 1]
    for number, copy in enumerate(found):
        if number == MOST_PLACES:
            yield _not_asked
            return
        yield partial(store_of, copy.target)


def _not_asked() -> Store:
    raise StoreUnavailable("Further places are not asked at one time.")


def _ask_to_heal(snapshot: Snapshot) -> None:
    """Home has answered, and not with the right bytes: whoever heals puts them there from another place."""
    enqueue(JobKind.HEAL, subject=f"snapshot:{snapshot.pk}", tenant_id=snapshot.tenant_id)
