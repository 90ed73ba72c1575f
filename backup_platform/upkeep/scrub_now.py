"""Scrub everything now: this host's packs and objects, then every copy at every target that can be asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from uuid import UUID

from backup_platform.catalog.errors import RecordUnavailable
from backup_platform.catalog.models import Copy, CopyState, Pack, Snapshot
from backup_platform.catalog.pack_check import PackReport
from backup_platform.catalog.scrubbing import COMMITTED, PAGE, Fault, Scrubbed, scrub_all
from backup_platform.jobs.models import JobKind
from backup_platform.jobs.services import enqueue
from backup_platform.storage.base import StoreError
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from backup_platform.upkeep.heal_places import READ_FROM
from backup_platform.upkeep.models import HomeParity
from backup_platform.upkeep.parity_making import look_at_parity
from backup_platform.upkeep.scrub_objects import LookedAt, scrub_snapshot, scrub_vault
from backup_platform.upkeep.scrub_packs import scrub_copy, settle_pack
from backup_platform.vaults.models import Vault

MOST_HEALED = 1_000


def scrub_everything() -> Scrubbed:
    """Re-read everything of every tenant at every place, healing what can be healed; without a rate limit.

    What was found damaged is named even if it was healed at once. StoreUnavailable when the home directory is away.
    """
    result = scrub_all(_heal_first)
    with without_tenant_scope("a scrub covers every tenant"):
        _ask_for_healing(result)
        for copy in _copies():
            with tenant_scope(copy.tenant_id):
                _scrub_copy(copy, result)
        for parity in HomeParity.objects.select_related("pack").iterator(chunk_size=PAGE):
            with tenant_scope(parity.pack.tenant_id):
                _look_at_parity(f"pack:{parity.pack_id}", parity.pack.uid.hex, result)
        for vault, tenant in _vaults():
            with tenant_scope(tenant):
                _add(result, partial(scrub_vault, vault), "record", vault.hex)
        named = {one.name for one in result.damaged if one.kind == "snapshot"}  # their jobs look at every place
        for pk, tenant in _snapshots():
            if pk.hex not in named:
                with tenant_scope(tenant):
                    _add(result, partial(scrub_snapshot, pk), "snapshot", pk.hex)
    return result


def _heal_first(pack: Pack, report: PackReport) -> str:
    looked = settle_pack(pack, report)
    return looked.said.rpartition("affected.")[2].strip() if looked.healed else ""


def _copies() -> Iterator[Copy]:
    last = 0
    rows = Copy.objects.filter(state__in=[CopyState.GOOD, CopyState.DAMAGED], target__state__in=READ_FROM)
    while page := list(rows.filter(pk__gt=last).select_related("pack").order_by("pk")[:PAGE]):
        yield from page
        last = page[-1].pk


def _scrub_copy(copy: Copy, result: Scrubbed) -> None:
    result.copies += 1
    result.bytes += copy.bytes
    try:
        looked = scrub_copy(copy.pk)
    except (RecordUnavailable, StoreError) as fault:
        result.unread.append(Fault("copy", copy.pack.uid.hex, str(fault)))
        return
    if looked.damaged:
        result.damaged.append(Fault("copy", copy.pack.uid.hex, looked.said))
    if copy.parity_bytes:
        _look_at_parity(f"copy:{copy.pk}", copy.pack.uid.hex, result)


def _look_at_parity(subject: str, name: str, result: Scrubbed) -> None:
    try:
        if not look_at_parity(subject):
            result.damaged.append(Fault("parity", name, "The parity beside it is damaged or gone; it is made anew."))
    except (RecordUnavailable, StoreError) as fault:
        result.unread.append(Fault("parity", name, str(fault)))


def _vaults() -> Iterator[tuple[UUID, UUID]]:
    """Those that other targets hold too: the home directory's records have been looked at."""
    elsewhere = Vault.objects.filter(snapshots__copies__objects_at__isnull=False).order_by("pk")
    yield from elsewhere.values_list("pk", "tenant_id").distinct().iterator(chunk_size=PAGE)


def _snapshots() -> Iterator[tuple[UUID, UUID]]:
    committed = Snapshot.objects.filter(state__in=COMMITTED).order_by("pk")
    yield from committed.values_list("pk", "tenant_id").iterator(chunk_size=PAGE)


def _add(result: Scrubbed, look: Callable[[], LookedAt], kind: str, name: str) -> None:
    """Add what was not right; of a vault's records only those at other targets, since the others have been named."""
    try:
        found = look()
    except (RecordUnavailable, StoreError) as fault:
        result.unread.append(Fault(kind, name, str(fault)))
        return
    for seen in found.seen:
        if not (seen.here and kind == "record"):
            healed = " It was healed." if seen.healed else ""
            result.damaged.append(Fault(kind, name, f"{seen.name} at {seen.place}: {seen.fault}{healed}"))
    result.unread += [Fault(kind, name, said) for said in found.unread]


def _ask_for_healing(result: Scrubbed) -> None:
    """What this host's objects lack is put right by jobs: most of it stands in the catalogue or at another target."""
    hurt = [UUID(one.name) for one in result.damaged if one.kind == "snapshot"][:MOST_HEALED]
    for pk, tenant in Snapshot.objects.filter(pk__in=hurt).values_list("pk", "tenant_id"):
        enqueue(JobKind.HEAL, subject=f"snapshot:{pk}", tenant_id=tenant)
    if any(one.kind == "record" for one in result.damaged):
        for pk, tenant in Vault.objects.values_list("pk", "tenant_id").iterator(chunk_size=PAGE):
            enqueue(JobKind.HEAL, subject=f"vault:{pk}", tenant_id=tenant)
