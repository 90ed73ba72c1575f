"""Whether a target may be like this: every rule about its fields, in one place for all doors."""

from __future__ import annotations

import os
import re
from pathlib import Path

from django.conf import settings

from backup_platform.targets.credentials import Credentials, sealed
from backup_platform.targets.endpoints import (
    REGION,
    STORAGE_CLASS,
    check_bucket,
    check_endpoint,
    check_folder,
    check_word,
)
from backup_platform.targets.errors import TargetRefused
from backup_platform.targets.home import HOME_NAME
from backup_platform.targets.models import Target, TargetKind, TargetState
from backup_platform.targets.queries import own_and_shared
from backup_platform.targets.same_place import home_store, same_directory, same_room

CURRENCY = re.compile(r"[A-Z]{3}|")
MAX_LOCK_DAYS = 36_500
PLACE_FIELDS = ("path", "endpoint", "region", "bucket", "prefix")
KIND_FIELDS = {TargetKind.LOCAL: ("path",), TargetKind.S3: PLACE_FIELDS[1:]}
STAFF_ONLY = "Only the platform's staff may do this: "


def settle(target: Target, credentials: Credentials | None, *, staff: bool) -> None:
    """Check a target's fields, put them in order, and seal its credentials, in the object only.

    `staff`: the platform's own people ask, who may use private addresses, this server's directories and share a target.
    Without credentials those that are there stay. Raises TargetRefused.
    """
    _check_words(target)
    _check_rights(target, staff=staff)
    for name in PLACE_FIELDS:
        if name not in KIND_FIELDS[TargetKind(target.kind)] and getattr(target, name):
            raise TargetRefused(f"A target of this kind has no {name}.", name)
    if target.kind == TargetKind.LOCAL:
        _settle_directory(target, credentials)
    else:
        _settle_bucket(target, credentials)
    _refuse_twice(target)


def _check_words(target: Target) -> None:
    target.name = target.name.strip()
    if not target.name or len(target.name) > 100 or not target.name.isprintable():
        raise TargetRefused("A target needs a name of 1 to 100 printable characters.", "name")
    if target.name == HOME_NAME:
        raise TargetRefused(f"{HOME_NAME!r} is the name of the platform's own directory; choose another.", "name")
    if target.kind not in TargetKind.values:
        raise TargetRefused(f"A target is one of these kinds: {', '.join(TargetKind.values)}.", "kind")
    target.currency = target.currency.strip().upper()
    if not CURRENCY.fullmatch(target.currency):
        raise TargetRefused("A currency has three letters, such as EUR.", "currency")
    if target.price is not None and target.price < 0:
        raise TargetRefused("The price of a GB a month cannot be negative.", "price")
    if target.lock_days is not None and not 1 <= target.lock_days <= MAX_LOCK_DAYS:
        raise TargetRefused(f"Object Lock lasts 1 to {MAX_LOCK_DAYS:,} days; leave it empty for none.", "lock_days")
    if not 0 <= target.parity_percent <= 50:
        raise TargetRefused("Parity is 0 to 50 per cent.", "parity_percent")
    if not 1 <= target.watermark_percent <= 100:
        raise TargetRefused("The watermark is 1 to 100 per cent.", "watermark_percent")
    if target.capacity_bytes is not None and target.capacity_bytes < 1:
        raise TargetRefused("The capacity is a number of bytes above 0; leave it empty if there is no limit.",
                            "capacity_bytes")  # fmt: skip


def _check_rights(target: Target, *, staff: bool) -> None:
    if staff:
        return
    if target.tenant_id is None:
        raise TargetRefused(f"{STAFF_ONLY}a target without a tenant is shared by all of them.", "tenant")
    if target.kind == TargetKind.LOCAL:
        raise TargetRefused(f"{STAFF_ONLY}a local directory lies on the platform's own server.", "kind")
    if target.allow_private:
        raise TargetRefused(f"{STAFF_ONLY}a private address leads into the platform's own network.", "allow_private")


def _settle_directory(target: Target, credentials: Credentials | None) -> None:
    if credentials is not None:
        raise TargetRefused("A local directory has no credentials.", "access_key")
    if target.storage_class or target.lock_days:
        raise TargetRefused("A local directory has neither storage classes nor Object Lock.", "storage_class")
    path = Path(target.path.strip())
    if not path.is_absolute() or ".." in path.parts or "\0" in target.path:
        raise TargetRefused("Write the directory as an absolute path, such as /mnt/backup.", "path")
    own = (Path(os.path.realpath(place)) for place in (settings.STRONGROOM_HOME, home_store()))
    if any(Path(os.path.realpath(path)).is_relative_to(place) for place in own) or same_directory(path, home_store()):
        raise TargetRefused("The directory lies in the platform's own home: a second copy there would burn with it.",
                            "path")  # fmt: skip
    target.path = str(path)


def _settle_bucket(target: Target, credentials: Credentials | None) -> None:
    for name, check in (
        ("endpoint", lambda text: check_endpoint(text, private=target.allow_private)),
        ("region", lambda text: check_word(text.strip(), REGION, "region")),
        ("bucket", lambda text: check_bucket(text.strip())),
        ("prefix", check_folder),
        ("storage_class", lambda text: check_word(text.strip().upper(), STORAGE_CLASS, "storage class")),
    ):
        try:
            setattr(target, name, check(getattr(target, name)))
        except TargetRefused as refusal:
            raise TargetRefused(str(refusal), name) from None
    if credentials is not None:
        target.sealed = sealed(target, credentials)
    elif not target.sealed:
        raise TargetRefused("A bucket needs an access key and a secret key.", "access_key")


def _refuse_twice(target: Target) -> None:
    """Two targets in one place would look like two copies and be one."""
    for other in own_and_shared(target.tenant_id):
        same = same_room(target, other)
        inside = _within(other.prefix, target.prefix) or _within(target.prefix, other.prefix)
        if other.pk != target.pk and other.state != TargetState.RETIRED and not other.home and same and inside:
            named = other.name if other.tenant_id == target.tenant_id else "of the platform"
            raise TargetRefused(f"The target {named} lies there already: two copies in one place are one.",
                                "path" if target.kind == TargetKind.LOCAL else "bucket")  # fmt: skip


def _within(prefix: str, other: str) -> bool:
    return not other or f"{prefix}/".startswith(f"{other}/")
