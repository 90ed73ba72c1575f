"""The rest of a catalogue at size, for lists: a pack for each 64 chunks, their copies, snapshots at a target, jobs.

Runs in the platform's Django. One row of each kind is made as the platform makes it, the others are made of it by the
database. No file stands behind the packs; their target is paused, so that nothing goes looking for them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from benchmarks.storage_cells import prepare_django
from benchmarks.storage_counted import MACHINE

JOBS = 100_000
CHUNKS_A_PACK = 64
TABLES = ("catalog_pack", "catalog_copy", "catalog_snapshotcopy", "jobs_job")


def fill(scale: float) -> dict[str, Any]:
    """Make the rows, and two people who look at them; their sessions' keys are told."""
    from django.db import connection

    from backup_platform.fleet.models import Machine
    from backup_platform.vaults.models import Vault

    vault, machine = Vault.objects.get(), Machine.objects.get(name=MACHINE)
    packs, target = _fill_packs(vault), _target(vault)
    _fill_copies(vault, target, packs)
    jobs = max(200, int(JOBS * scale))
    _fill_jobs(vault, machine, jobs)
    with connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"VACUUM ANALYZE {table}")
    return {"packs": packs, "jobs": jobs, **_people(vault)}


def _fill_packs(vault: Any) -> int:
    from django.db import connection
    from django.utils import timezone

    from backup_platform.catalog.models import Pack, PackPlace, PackState

    count, now = max(1, -(-vault.next_number // CHUNKS_A_PACK)), timezone.now()
    Pack.objects.create(
        id=1, uid=uuid4(), tenant_id=vault.tenant_id, vault=vault, spool="made up", place=PackPlace.TARGET,
        path="made/up", state=PackState.VERIFIED, records=CHUNKS_A_PACK, bytes=CHUNKS_A_PACK * 1_000_069,
        digest=bytes(32), sealed_at=now, verified_at=now, deduplicated_at=now, scrubbed_at=now,
    )  # fmt: skip
    _multiply(Pack, 1, count - 1, {"id": "n + 1", "uid": "gen_random_uuid()"})
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval(pg_get_serial_sequence('catalog_pack', 'id'), %s)", [count])
    return count


def _target(vault: Any) -> Any:
    from backup_platform.targets.models import Target, TargetKind, TargetState

    return Target.objects.create(
        tenant_id=vault.tenant_id, name="made up", kind=TargetKind.LOCAL, state=TargetState.PAUSED, path="/made/up"
    )


def _fill_copies(vault: Any, target: Any, packs: int) -> None:
    from django.utils import timezone

    from backup_platform.catalog.models import Copy, CopyState, Snapshot, SnapshotCopy

    now = timezone.now()
    first = Copy.objects.create(
        tenant_id=vault.tenant_id, pack_id=1, target=target, state=CopyState.GOOD, key="made/up",
        bytes=CHUNKS_A_PACK * 1_000_069, written_at=now, checked_at=now,
    )  # fmt: skip
    _multiply(Copy, first.pk, packs - 1, {"id": None, "pack_id": "n + 1"})
    there = [
        SnapshotCopy(tenant_id=vault.tenant_id, snapshot_id=pk, target=target, objects_at=now, complete_at=now)
        for pk in Snapshot.objects.order_by("received_at").values_list("pk", flat=True)
    ]
    SnapshotCopy.objects.bulk_create(there, batch_size=1000)


def _fill_jobs(vault: Any, machine: Any, count: int) -> None:
    from django.utils import timezone

    from backup_platform.jobs.models import Job, JobKind, JobState

    now = timezone.now()
    first = Job.objects.create(
        tenant_id=vault.tenant_id, kind=JobKind.TIER, subject="pack:1", dedupe_key="made up", state=JobState.DONE,
        attempts=1, started_at=now, finished_at=now, progress={"copied": ["made up"]},
    )  # fmt: skip
    at = "t.created_at - n * interval '1 second'"
    _multiply(
        Job,
        first.pk,
        count - 1,
        {
            "id": "gen_random_uuid()",
            "kind": "(ARRAY['tier', 'verify', 'deduplicate', 'backup'])[1 + n % 4]",
            "machine_id": f"CASE WHEN n % 4 = 3 THEN '{machine.pk}'::uuid END",
            "state": "CASE WHEN n % 500 = 0 THEN 'failed' ELSE 'done' END",
            "subject": "'pack:' || n",
            "dedupe_key": "'made up ' || n",
            "created_at": at,
            "started_at": at,
            "finished_at": at,
        },
    )


def _multiply(model: Any, pk: Any, count: int, changes: Mapping[str, str | None]) -> None:
    """Make `count` more rows like one. `changes`: a column's expression over `n`, from 1; None: the table's default."""
    from django.db import connection

    columns = [field.column for field in model._meta.concrete_fields if changes.get(field.column, "") is not None]
    values = ", ".join(changes.get(column) or f't."{column}"' for column in columns).replace("%", "%%")
    names = ", ".join(f'"{column}"' for column in columns)
    table = model._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({names}) SELECT {values} FROM {table} t, generate_series(1, %s::bigint) AS n"  # noqa: S608 - all of it stands in this file
            " WHERE t.id = %s",
            [count, pk],
        )


def _people(vault: Any) -> dict[str, str]:
    """One of the platform's staff, who sees every tenant, and the tenant's own administrator."""
    from backup_platform.tenants.models import Member, Role, User

    staff = User.objects.create_superuser("bench-staff", password=uuid4().hex)
    user = User.objects.create_user("bench-member", password=uuid4().hex)
    Member.objects.create(user=user, tenant_id=vault.tenant_id, role=Role.ADMIN)
    return {"staff": _session(staff), "member": _session(user)}


def _session(user: Any) -> str:
    from django.conf import settings
    from django.test import Client

    client = Client(SERVER_NAME="localhost")
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"


def main() -> None:
    prepare_django()
    from backup_platform.tenants.scope import without_tenant_scope

    with without_tenant_scope("the benchmark has one tenant"):
        print(json.dumps(fill(float(sys.argv[1]))))


if __name__ == "__main__":
    main()
