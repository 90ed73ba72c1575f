"""What a store says of things that the catalogue knows already: it came back from a backup, and the store went on.

Two things must not be lost by that. What a person brought back after the backup counts as there again; and a pack that
the catalogue names and the store no longer has (it was compacted or reclaimed since) is looked at at once, so that
another copy of its records takes its place before anybody takes that copy for one too many.
"""

from __future__ import annotations

from uuid import UUID

from django.db import transaction
from django.utils import timezone

from backup_platform.audit.services import record as record_audit
from backup_platform.catalog.models import Copy, CopyState, Pack, PackPlace, Snapshot, SnapshotState
from backup_platform.catalog.work import ask_to_complete
from backup_platform.jobs.models import JobKind
from backup_platform.jobs.services import enqueue
from backup_platform.retention.defaults import delays_of
from backup_platform.retention.models import Expiry
from backup_platform.vaults.models import Vault

from .fates import read_fate
from .keeping import Keeper
from .report import Report
from .source import Source
from .survey import VaultFiles

ACTOR = "a rebuild of the catalogue"


def bring_back_again(vault: Vault, files: VaultFiles, keeper: Keeper, report: Report) -> None:
    """Bring back every snapshot that has expired by the catalogue, and was brought back by its records."""
    expired = Snapshot.objects.filter(vault=vault, state=SnapshotState.EXPIRED).order_by("sequence")
    for pk in list(expired.values_list("pk", flat=True)):
        if files.lifecycle.get(pk, 0) > 1 and read_fate(files, pk, keeper).brought_back:
            _bring_back(pk)
            report.count("snapshots brought back")


def _bring_back(pk: UUID) -> None:
    """As a person did it; whether it is good is found out anew."""
    now = timezone.now()
    with transaction.atomic():
        row = Snapshot.objects.select_for_update(no_key=True).defer("bitmap", "blocks").get(pk=pk)
        mine = Snapshot.objects.filter(pk=pk, state=SnapshotState.EXPIRED)
        mine.update(state=SnapshotState.RECEIVED, state_before="", expired_at=None, expired_because="")
        until = now + delays_of(row.tenant_id).undelete
        Expiry.objects.filter(snapshot=row, brought_back_at__isnull=True).update(
            brought_back_at=now, brought_back_by=ACTOR, protected_until=until
        )
        record_audit("snapshot.brought_back", actor=ACTOR, object=f"snapshot:{pk}", tenant=row.tenant_id,
                     state=SnapshotState.RECEIVED, protected_until=until)  # fmt: skip
        ask_to_complete(row)


def look_at_missing_packs(vault: Vault, files: VaultFiles, source: Source, report: Report) -> None:
    """Have every pack looked at that the catalogue names at this store, and that the whole listing did not hold."""
    for subject, uid in _named_there(vault, source):
        if uid not in files.packs:
            report.fault("pack", uid, "The catalogue names it, and the store does not have it; other copies are used.")
            enqueue(JobKind.SCRUB, subject=subject, tenant_id=vault.tenant_id)


def _named_there(vault: Vault, source: Source) -> list[tuple[str, UUID]]:
    if source.is_home:
        packs = Pack.objects.filter(vault=vault, place=PackPlace.TARGET).order_by("pk")
        return [(f"pack:{pk}", uid) for pk, uid in packs.values_list("pk", "uid")]
    copies = Copy.objects.filter(pack__vault=vault, target=source.target, state=CopyState.GOOD)
    copies = copies.exclude(pack__place=PackPlace.GONE).order_by("pk")
    return [(f"copy:{pk}", uid) for pk, uid in copies.values_list("pk", "pack__uid")]
