"""The rule of drills: a policy asks a machine to prove its backups, and it has not done so for too long."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import connection
from django.utils import timezone

from backup_platform.notifications.services import Finding
from backup_platform.notifications.words import AlertKind, Level

MOST = 20_000
"""Findings of one sweep, as for the other rules."""

# Too long: twice what the policy asks for and a week, so that a machine that is away for its holidays is not reported.
# Counted from the newest proof, or from the first snapshot that was good. Write-only machines cannot drill.
UNPROVEN_SQL = """
    SELECT machine.id, plan.tenant_id, machine.name, policy.id, policy.name, proof.proven_at, first.verified_at
      FROM policies_plan plan
      JOIN policies_plansettings shared ON shared.id = plan.shared_id AND shared.tenant_id = plan.tenant_id
      JOIN fleet_machine machine ON machine.id = plan.machine_id AND machine.tenant_id = plan.tenant_id
       AND machine.state = 'active' AND NOT machine.write_only
      JOIN policies_policy policy ON policy.id = plan.policy_id AND policy.tenant_id = plan.tenant_id
     CROSS JOIN LATERAL (SELECT coalesce((shared."values" ->> 'drill.every_days')::int, 0) AS days) every
      LEFT JOIN LATERAL (
           SELECT s.proven_at FROM catalog_snapshot s
            WHERE s.machine_id = machine.id AND s.policy_id = policy.id AND s.proven_at IS NOT NULL
            ORDER BY s.proven_at DESC LIMIT 1) proof ON true
      LEFT JOIN LATERAL (
           SELECT s.verified_at FROM catalog_snapshot s
            WHERE s.machine_id = machine.id AND s.policy_id = policy.id AND s.verified_at IS NOT NULL
            ORDER BY s.sequence LIMIT 1) first ON true
     WHERE every.days > 0
       AND coalesce(proof.proven_at, first.verified_at) < %(now)s - make_interval(days => 2 * every.days + 7)
     LIMIT %(most)s
"""


def unproven() -> Iterator[Finding]:
    """Policies on machines of which no drill has succeeded for too long."""
    with connection.cursor() as cursor:
        cursor.execute(UNPROVEN_SQL, {"now": timezone.now(), "most": MOST})
        rows = list(cursor)
    for machine, tenant, name, policy_id, policy, proven, first in rows:
        since = f"since {proven:%Y-%m-%d}" if proven else f"yet; its first good snapshot is of {first:%Y-%m-%d}"
        yield Finding(
            tenant, AlertKind.UNPROVEN, f"machine:{machine}", Level.WARNING,
            f"No drill of {policy} on {name} has succeeded {since}.",
            "Press Drill now on the machine's page, and read the job that it makes. If the machine should not drill, "
            "say so in the policy: Drill every, 0 days.",
            f"unproven:{policy_id}:{machine}", machine,
        )  # fmt: skip
