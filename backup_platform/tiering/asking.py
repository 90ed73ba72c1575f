"""The jobs that tiering asks for: one name each, so that asking twice is asking once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone

from backup_platform.catalog import stores
from backup_platform.catalog.models import Copy, CopyState, Pack, Snapshot
from backup_platform.jobs.models import Job, JobKind, JobState
from backup_platform.jobs.services import enqueue
from backup_platform.targets.models import Target
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.tiering.errors import TieringRefused
from backup_platform.tiering.rules import may_hold
from backup_platform.tiering.snapshot_objects import targets_for_objects

FAILED_PAUSE = timedelta(hours=1)
"""What failed for good is asked for again after this."""


def ask_pack(pack: Pack, target: Target | None = None) -> None:
    """Have what is due for a pack done: its copy at a target, if it is named (so that nobody has to wait there for the
    others), and its leaving this host."""
    enqueue(JobKind.TIER, subject=pack_subject(pack, target), tenant_id=pack.tenant_id)


def pack_subject(pack: Pack, target: Target | None = None) -> str:
    """What a job about a pack, and one target, is about."""
    return f"pack:{pack.pk}" + (f"@{target.pk}" if target else "")


def ask_to_copy(pack: Pack, target: Target) -> None:
    """Have a pack copied to a certain target, whatever the rules say. Done when its copy there is *good*."""
    if not may_hold(target, pack.tenant_id) or target.home:
        raise TieringRefused("This target is the home directory, or another tenant's.")
    key = stores.pack_key(pack.tenant_id, pack.vault_id, pack.uid)
    wanted = {"tenant_id": pack.tenant_id, "key": key, "bytes": pack.bytes}
    copy, made = Copy.objects.get_or_create(pack=pack, target=target, defaults=wanted)
    if not made and copy.state == CopyState.GONE:
        Copy.objects.filter(pk=copy.pk, state=CopyState.GONE).update(state=CopyState.WRITING, leaves_at=None, fault="")
    ask_pack(pack, target)


def ask_to_copy_snapshot(snapshot: Snapshot) -> None:
    """Have a snapshot's objects copied to every active target, new lifecycle records among them.

    In the transaction in force; does nothing where the tenant has no target but the home directory.
    """
    if targets_for_objects(snapshot.tenant_id):
        enqueue(JobKind.TIER, subject=f"snapshot:{snapshot.pk}", tenant_id=snapshot.tenant_id)


def ask_target(target: Target) -> None:
    """Have a target worked on that is drained, or that copies leave."""
    enqueue(JobKind.TIER, subject=f"target:{target.pk}", tenant_id=target.tenant_id)


def committed(sender: Any, instance: Snapshot, created: bool, **_: Any) -> None:
    """A snapshot's row was made, in the commit's transaction: its objects go out right after it."""
    if created:
        ask_to_copy_snapshot(instance)


def lately_failed() -> set[str]:
    """The subjects of tier jobs that failed for good within the last hour."""
    since = timezone.now() - FAILED_PAUSE
    with without_tenant_scope("failed jobs of every tenant are left alone for a while"):
        failed = Job.objects.filter(kind=JobKind.TIER, state=JobState.FAILED, finished_at__gt=since)
        return set(failed.values_list("subject", flat=True))
