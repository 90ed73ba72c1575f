"""Which policy made a snapshot: what the job said that made it. Noted at commit; swept here, should that get lost."""

from __future__ import annotations

from uuid import UUID

from django.db import connection

NOTE_SQL = """
    UPDATE catalog_snapshot s SET policy_id = j.policy_id
      FROM jobs_job j
     WHERE j.snapshot = s.id AND j.tenant_id = s.tenant_id AND j.machine_id = s.machine_id AND j.kind = 'backup'
       AND j.policy_id IS NOT NULL AND s.policy_id IS NULL AND s.tenant_id = %s
"""


def note_policies(tenant_id: UUID) -> int:
    """Write down the policies of a tenant's snapshots that a job knows and the snapshot does not; how many."""
    with connection.cursor() as cursor:
        cursor.execute(NOTE_SQL, [tenant_id])
        return int(cursor.rowcount)
