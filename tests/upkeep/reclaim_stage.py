"""What the tests of reclaim share: snapshots that expire, rounds without a grace, and what is left afterwards."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from backup_platform.catalog import stores
from backup_platform.catalog.commit import Committed
from backup_platform.catalog.models import Pack, PackPlace, Snapshot, SnapshotState
from backup_platform.catalog.reading import PackReader
from backup_platform.jobs.models import Job, JobState
from backup_platform.jobs.routes import route_of
from backup_platform.jobs.running import run_job
from backup_platform.retention.expiring import expire
from backup_platform.retention.lifecycle import write_due
from backup_platform.upkeep.compacting import Compacted, compact_vault
from backup_platform.upkeep.models import ReclaimRound
from backup_platform.upkeep.reclaiming import Outcome, reclaim_vault
from backup_platform.upkeep.turns import Turn
from backup_platform.vaults.models import Vault
from tests.catalog.stage import WORK, block_of, digest

LONG_AGO = timedelta(days=400)
NO_GRACE = timedelta(0)


def let_expire(*committed: Committed | UUID, ago: timedelta = LONG_AGO) -> None:
    """Retention drops these snapshots; so long ago that nobody can bring them back any more."""
    ids = [item if isinstance(item, UUID) else item.snapshot for item in committed]
    snapshots = list(Snapshot.objects.filter(pk__in=ids))
    with transaction.atomic():
        expire({"a test": snapshots}, by="test", now=timezone.now() - ago)
    for tenant_id in {snapshot.tenant_id for snapshot in snapshots}:
        write_due(tenant_id)


def run_jobs(*, most: int = 400) -> int:
    """Do the catalogue's due jobs as workers would, until none is left; others' jobs stay."""
    for done in range(most):
        job = next(iter(waiting_jobs(timezone.now())), None)
        if job is None:
            return done
        run_job(job.pk, WORK[route_of(job.kind, job.subject).task])
    raise AssertionError("the work list does not come to an end")


def waiting_jobs(due: datetime | None = None) -> list[Job]:
    """The catalogue's queued jobs, the oldest first; with `due` only those whose time has come."""
    jobs = Job.objects.filter(state=JobState.QUEUED).order_by("created_at")
    found = jobs if due is None else jobs.filter(next_attempt_at__lte=due)
    return [job for job in found if route_of(job.kind, job.subject).task in WORK]


def run_round(vault: Vault, **options: object) -> Outcome:
    """One call as a worker makes it, with files going at once."""
    vault.refresh_from_db()
    return reclaim_vault(vault, Turn(), **{"grace": NO_GRACE, **options})


def round_of(outcome: Outcome) -> ReclaimRound:
    assert outcome.round is not None, outcome.waits_for
    outcome.round.refresh_from_db()
    return outcome.round


def compact(vault: Vault) -> Compacted:
    vault.refresh_from_db()
    return compact_vault(vault, Turn(), grace=NO_GRACE)


def ids_of(*segments: list[bytes]) -> set[bytes]:
    """The ids of these segments' contents and of their blocks."""
    contents = [content for segment in segments for content in segment] + [block_of(segment) for segment in segments]
    return {digest(content) for content in contents}


def indexed(vault: Vault) -> dict[bytes, int]:
    """Every id of the vault's index with its state."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, state FROM catalog_chunk WHERE vault = %s", [vault.number])
        return {bytes(row[0]): row[1] for row in cursor}


def numbers(vault: Vault) -> dict[bytes, int]:
    """Every id of the vault's index with its number."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, number FROM catalog_chunk WHERE vault = %s", [vault.number])
        return {bytes(row[0]): row[1] for row in cursor}


def read_back(vault: Vault, *segments: list[bytes]) -> None:
    """Every record of these segments is there with its right bytes."""
    expected = {digest(content): content for segment in segments for content in [*segment, block_of(segment)]}
    for found in PackReader(vault.number).read(list(expected)):
        assert found.record is not None, "a record that is needed cannot be read"
        assert found.record.sealed == expected[found.id]


def files(vault: Vault) -> set[str]:
    """The pack files in the home store."""
    prefix = f"{vault.tenant_id.hex}/{vault.pk.hex}/packs"
    return {key for key in stores.local_target().list(prefix) if key.endswith(".pack")}


def live_packs(vault: Vault) -> list[Pack]:
    return list(Pack.objects.filter(vault=vault).exclude(place=PackPlace.GONE).order_by("pk"))


def is_state(committed: Committed, state: SnapshotState) -> bool:
    return Snapshot.objects.get(pk=committed.snapshot).state == state
