"""Where a rebuild reads from: a store, and the target's row that its copies will stand under."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from backup_platform.catalog import stores
from backup_platform.secret_box import SecretUnreadable
from backup_platform.storage.base import Store, StoreError
from backup_platform.targets.credentials import Credentials, sealed
from backup_platform.targets.errors import TargetRefused
from backup_platform.targets.home import home_target
from backup_platform.targets.models import Target, TargetKind
from backup_platform.targets.opening import open_store
from backup_platform.tenants.scope import without_tenant_scope

from .errors import RebuildRefused

WHY = "a target that is rebuilt from is looked for among the platform's own"


@dataclass(frozen=True)
class Source:
    """An opened store and its row."""

    store: Store
    target: Target

    @property
    def is_home(self) -> bool:
        """Whether packs lie where this installation keeps its own."""
        return self.target.home


def source_of_target(name: str) -> Source:
    """The platform's target of this name. RebuildRefused when there is none, or it does not answer."""
    with without_tenant_scope(WHY):
        target = Target.objects.filter(name=name, tenant__isnull=True).first()
    if target is None:
        raise RebuildRefused(
            f"There is no target of the platform named {name!r}. Add it first, or name the place itself with "
            "--directory or --s3."
        )
    return _opened(target)


def source_at(directory: Path) -> Source:
    """A store in a directory: this installation's own `store`, or any other, which becomes a target of the platform."""
    place = directory.absolute()
    if not place.is_dir():
        raise RebuildRefused(f"{place} is no directory.")
    own = stores.home() / "store"
    if own.is_dir() and place.samefile(own):
        return _opened(home_target())
    return _opened(_row(TargetKind.LOCAL, place.name or "directory", path=str(place)))


def source_in_bucket(url: str, *, endpoint: str = "", region: str = "", allow_private: bool = False) -> Source:
    """A bucket at s3://BUCKET/PREFIX; credentials come from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and
    AWS_SESSION_TOKEN and are kept, sealed, with the target that this makes."""
    parts = urlsplit(url)
    if parts.scheme != "s3" or not parts.netloc:
        raise RebuildRefused(f"{url!r} names no bucket: write s3://BUCKET or s3://BUCKET/PREFIX.")
    fields = {
        "bucket": parts.netloc,
        "prefix": parts.path.strip("/"),
        "endpoint": endpoint or os.environ.get("AWS_ENDPOINT_URL", ""),
        "region": region or os.environ.get("AWS_REGION", ""),
        "allow_private": allow_private,
    }
    target = _row(TargetKind.S3, parts.netloc, **fields)
    held = Credentials(
        os.environ.get("AWS_ACCESS_KEY_ID", ""),
        os.environ.get("AWS_SECRET_ACCESS_KEY", ""),
        os.environ.get("AWS_SESSION_TOKEN", ""),
    )
    try:
        target.sealed = sealed(target, held)
    except TargetRefused as fault:
        raise RebuildRefused(f"{fault} Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.") from None
    return _opened(target)


def keep_target(source: Source) -> None:
    """Write the target's row, once the store was looked through and is to be rebuilt from."""
    with without_tenant_scope(WHY):
        source.target.save()


def _row(kind: str, name: str, **fields: object) -> Target:
    """The row of the same place if an earlier attempt made it, else a new one, not saved yet."""
    with without_tenant_scope(WHY):
        same = {key: fields[key] for key in ("path", "bucket", "prefix", "endpoint") if key in fields}
        found = Target.objects.filter(kind=kind, tenant__isnull=True, **same).first()
        if found is None:
            taken = Target.objects.filter(name=name, tenant__isnull=True).exists()
            return Target(kind=kind, name=f"{name} (rebuilt)" if taken else name, created_by="rebuild", **fields)
    for key, value in fields.items():
        setattr(found, key, value)
    return found


def _opened(target: Target) -> Source:
    try:
        return Source(open_store(target), target)
    except (StoreError, SecretUnreadable) as fault:
        raise RebuildRefused(f"The store cannot be opened: {fault}") from None
