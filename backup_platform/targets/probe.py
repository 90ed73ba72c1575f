"""The probe: does a target do what a store must, and which of its finer promises does it keep?

It works in a folder of its own and cleans up after itself. The outcome goes into the target's flags, by which the store
decides later what it relies on. A new target is used from the first good probe on; one that lacks what every store
needs is paused.
"""

from __future__ import annotations

import os
from uuid import uuid4

from django.db import transaction
from django.utils import timezone

from backup_platform.audit.services import record as record_audit
from backup_platform.secret_box import SecretUnreadable
from backup_platform.storage.base import AlreadyThere, NotFound, Store, StoreError
from backup_platform.targets.availability import note_away, note_back
from backup_platform.targets.errors import TargetChanged
from backup_platform.targets.findings import Report
from backup_platform.targets.models import Target, TargetKind, TargetState
from backup_platform.targets.opening import open_store
from backup_platform.tenants.scope import without_tenant_scope

FOLDER = "probe"
CONTENT_BYTES = 64 * 1024
UNTRIED = (TargetState.NEW, TargetState.ACTIVE)
"""What a probe may decide about: people have paused the others, or they are being emptied."""
TRIED = ("kind", "path", "endpoint", "region", "bucket", "prefix", "allow_private", "storage_class", "lock_days")
"""What a probe depends on, with the credentials: found for other values, it says nothing."""


def probe_target(target: Target, *, actor: str) -> Report:
    """Try a target, keep what was found out in its row, and say it. Takes some seconds; raises nothing of the target's.

    A new target that has what is needed becomes active. One that lacks it is paused and noted away; one that answers is
    noted back. Raises TargetChanged, and keeps nothing, when somebody changed the target meanwhile.
    """
    report = Report()
    folder = f"{FOLDER}/{uuid4().hex}"
    try:
        if target.kind == TargetKind.S3 and not target.home:
            from backup_platform.targets.bucket_probe import probe_bucket  # the cloud's SDK takes a second to import

            probe_bucket(target, folder, report)
        else:
            probe_store(open_store(target), folder, report)
    except (StoreError, SecretUnreadable) as fault:
        report.note("write", False, str(fault))
    _keep(target, report, actor)
    return report


def probe_store(store: Store, folder: str, report: Report) -> None:
    """The steps that every store has, and what of them must be cleaned away. Raises StoreError."""
    key, content = f"{folder}/content", os.urandom(CONTENT_BYTES)
    _absence(store, f"{folder}/missing", report)
    store.put(key, content)
    report.note("write", True, "Objects can be written.")
    same = store.get(key) == content
    report.note("read", same, "What was written comes back the same." if same else "What comes back is other bytes.")
    part = store.get(key, 1000, 2000) == content[1000:3000] and store.get(key, CONTENT_BYTES - 10) == content[-10:]
    report.note("range", part, "Parts of objects can be read." if part else "Parts of objects come back wrong.")
    _twice(store, key, content, report)
    listed = list(store.list(folder)) == [key]
    report.note("list", listed, "Keys are listed." if listed else "A key that was written is not in the listing.")
    store.delete(key)
    gone = not store.exists(key) and key not in set(store.list(folder))
    report.note("delete", gone, "Objects can be deleted." if gone else "What was deleted is there still.")


def _absence(store: Store, key: str, report: Report) -> None:
    try:
        store.get(key)
    except NotFound:
        report.note("absence", True, "It says clearly when a key is not there.")
    else:
        report.note("absence", False, "It gives an answer for a key that was never written.")


def _twice(store: Store, key: str, content: bytes, report: Report) -> None:
    try:
        store.put(key, content[::-1])
    except AlreadyThere:
        good = store.get(key) == content
    else:
        good = False
    report.note("no_overwrite", good, "A key cannot be written twice." if good else "A key was written over.")


def _keep(target: Target, report: Report, actor: str) -> None:
    now = timezone.now()
    with transaction.atomic(), without_tenant_scope("a shared target belongs to no tenant"):
        row = Target.objects.select_for_update(of=("self",)).get(pk=target.pk)
        if not _same(row, target):
            raise TargetChanged(f"{target.name} was changed while it was probed: it has to be probed again.")
        after = row.state if row.home or row.state not in UNTRIED else _after(report)
        paused = after == TargetState.PAUSED != row.state
        Target.objects.filter(pk=target.pk).update(flags=report.flags, probed_at=now, state=after)
        record_audit(
            "target.probed", actor=actor, object=f"target:{target.pk}", tenant=target.tenant_id, name=target.name,
            usable=report.usable, paused=paused, fault=report.fault,
        )  # fmt: skip
    target.flags, target.probed_at, target.state = report.flags, now, after
    if report.usable:
        note_back(target)
    else:
        note_away(target, report.fault)


def _after(report: Report) -> str:
    return TargetState.ACTIVE if report.usable else TargetState.PAUSED


def _same(row: Target, tried: Target) -> bool:
    """Whether a row still says what was tried."""
    same = all(getattr(row, name) == getattr(tried, name) for name in TRIED)
    return same and bytes(row.sealed) == bytes(tried.sealed)
