"""How many bytes each tenant stores: a count that the database keeps itself (migrations/0003_quotas.py).

Counted are the bytes of sealed packs, each pack once, wherever it lies and however many copies there are: from the
moment it is sealed until its files are removed. What is expired counts until it is reclaimed; what is lost counts as
nothing until it is healed. Roots, statements and records are small and are not counted.

`tenants_stored` holds what was added up, `tenants_stored_change` what changed since, so the two together are exact at
any time. Adding up costs what has changed; counting all packs anew is done once a day, in case a row was missed.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection, transaction

logger = logging.getLogger(__name__)

LOCK_CLASS, LOCK_KEY = 0x5354_5153, 1
"""The advisory lock of adding up and counting anew: of both at once the later would undo the other."""
MOST_CHANGES = 100_000
"""Changes added up in one transaction; a minute brings a few thousand at the very most."""

# The callers name the tenants; of one whose row is not there nothing is found.
STORED_SQL = """
    SELECT tenant.id, tenant.quota_bytes, GREATEST(0,
             COALESCE((SELECT kept.bytes FROM tenants_stored kept WHERE kept.tenant = tenant.id), 0)
             + COALESCE((SELECT sum(change.bytes) FROM tenants_stored_change change WHERE change.tenant = tenant.id), 0)
           )::bigint
      FROM tenants_tenant tenant
"""
SETTLE_SQL = """
    WITH moved AS (
        DELETE FROM tenants_stored_change
         WHERE id IN (SELECT id FROM tenants_stored_change ORDER BY id LIMIT %s)
        RETURNING tenant, bytes)
    INSERT INTO tenants_stored AS kept (tenant, bytes)
    SELECT tenant, sum(bytes) FROM moved GROUP BY tenant ORDER BY tenant
    ON CONFLICT (tenant) DO UPDATE SET bytes = kept.bytes + excluded.bytes
"""
# One statement sees one state of the packs and of their changes: what changes meanwhile stays to be added.
RECOUNT_SQL = """
    WITH counted AS (
        SELECT tenant_id AS tenant, sum(bytes)::bigint AS bytes FROM catalog_pack
         WHERE place NOT IN ('gone', 'lost') GROUP BY tenant_id),
    changes AS (DELETE FROM tenants_stored_change RETURNING tenant, bytes),
    believed AS (
        SELECT tenant, sum(bytes) AS bytes
          FROM (SELECT tenant, bytes FROM tenants_stored UNION ALL SELECT tenant, bytes FROM changes) AS every
         GROUP BY tenant),
    written AS (
        INSERT INTO tenants_stored AS kept (tenant, bytes)
        SELECT tenant, COALESCE(counted.bytes, 0) FROM believed FULL JOIN counted USING (tenant)
        ON CONFLICT (tenant) DO UPDATE SET bytes = excluded.bytes)
    SELECT count(*) FROM believed FULL JOIN counted USING (tenant)
     WHERE COALESCE(believed.bytes, 0) <> COALESCE(counted.bytes, 0)
"""


@dataclass(frozen=True, slots=True)
class Stored:
    """What a tenant stores and may store, in bytes; `quota` None: as much as it likes."""

    tenant_id: UUID
    quota: int | None
    bytes: int

    @property
    def full(self) -> bool:
        """Whether the quota is used up."""
        return self.quota is not None and self.bytes >= self.quota

    @property
    def share(self) -> float | None:
        """The part of the quota that is used, 1.0 being all of it; None without a quota."""
        return None if self.quota is None else self.bytes / self.quota

    @property
    def over(self) -> int:
        """Bytes beyond the quota; below nought while there is room or no quota."""
        return -1 if self.quota is None else self.bytes - self.quota


def stored_of(tenant_id: UUID) -> Stored:
    """What one tenant stores, exact as far as is committed."""
    with connection.cursor() as cursor:
        cursor.execute(f"{STORED_SQL} WHERE tenant.id = %s", [tenant_id])
        row = cursor.fetchone()
    return _stored(row) if row else Stored(tenant_id, None, 0)


def stored_under_quotas() -> list[Stored]:
    """The same of every tenant that has a quota; for the platform's own work, which spans tenants."""
    with connection.cursor() as cursor:
        cursor.execute(f"{STORED_SQL} WHERE tenant.quota_bytes IS NOT NULL")
        return [_stored(row) for row in cursor.fetchall()]


def _stored(row: tuple[UUID, int | None, int]) -> Stored:
    tenant, quota, size = row
    return Stored(tenant, quota, int(size))


def settle() -> None:
    """Add up what has changed, so that few rows are to be read; repeatable at any time."""
    with transaction.atomic(), connection.cursor() as cursor:
        _alone(cursor)
        cursor.execute(SETTLE_SQL, [MOST_CHANGES])


def recount() -> int:
    """Count all packs anew; of how many tenants the count was not right, which should be none."""
    with transaction.atomic(), connection.cursor() as cursor:
        _alone(cursor)
        cursor.execute(RECOUNT_SQL)
        (wrong,) = cursor.fetchone()
    if wrong:
        logger.warning("What some tenants store was not counted rightly; it is put right.", extra={"tenants": wrong})
    return int(wrong)


def _alone(cursor: Any) -> None:
    cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [LOCK_CLASS, LOCK_KEY])
