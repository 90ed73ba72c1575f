"""The statements of the rules. All answer (machine, tenant, machine's name, …), over every tenant at once.

Each looks up the newest row of a machine or plan by an index, so a thousand machines with years of snapshots cost a
thousand short look-ups. Every row carries its own tenant, which goes into its alert.
"""

from __future__ import annotations

MACHINES_SQL = """
    WITH machine AS (
        SELECT m.id, m.tenant_id, m.name, m.enrolled_at, m.paused_at,
               greatest(m.enrolled_at, m.last_seen_at, m.connected_at, m.disconnected_at, beat.seen_at) AS contact,
               good.received_at AS good,
               CASE WHEN class.laptop THEN coalesce(rules.laptop_silent, %(laptop_silent)s)
                    ELSE coalesce(rules.server_silent, %(server_silent)s) END AS silent_hours,
               CASE WHEN class.laptop THEN coalesce(rules.laptop_stale, %(laptop_stale)s)
                    ELSE coalesce(rules.server_stale, %(server_stale)s) END AS stale_hours,
               coalesce(rules.tenant_stale, %(tenant_stale)s) AS tenant_hours
          FROM fleet_machine m
          LEFT JOIN notifications_watchrules rules ON rules.tenant_id = m.tenant_id
          LEFT JOIN fleet_gatewaybeat beat ON beat.name = m.connected_to AND m.connected_to <> ''
         CROSS JOIN LATERAL (
               SELECT m.tags @> '["laptop"]' OR coalesce(m.facts ->> 'chassis', '') = 'laptop' AS laptop) class
          LEFT JOIN LATERAL (
               SELECT s.received_at FROM catalog_snapshot s
                WHERE s.machine_id = m.id AND s.verified_at IS NOT NULL AND s.state <> 'damaged'
                ORDER BY s.sequence DESC LIMIT 1) good ON true
         WHERE m.state = 'active'
    )
"""
SILENT_SQL = "".join((MACHINES_SQL, """
    SELECT id, tenant_id, name, contact, NULL, NULL
      FROM machine WHERE contact < %(now)s - make_interval(hours => silent_hours) LIMIT %(most)s
"""))  # fmt: skip
STALE_SQL = "".join((MACHINES_SQL, """
    SELECT id, tenant_id, name, good, enrolled_at, paused_at
      FROM machine WHERE coalesce(good, enrolled_at) < %(now)s - make_interval(hours => stale_hours) LIMIT %(most)s
"""))  # fmt: skip
TENANT_STALE_SQL = "".join((MACHINES_SQL, """
    SELECT NULL, tenant_id, '', max(good), min(enrolled_at), NULL
      FROM machine GROUP BY tenant_id, tenant_hours
    HAVING coalesce(max(good), min(enrolled_at)) < %(now)s - make_interval(hours => tenant_hours) LIMIT %(most)s
"""))  # fmt: skip

# The oldest due time after the last run that ended well: a plan that fails every night is as overdue as its first
# failure, and not only as its last one.
OVERDUE_SQL = """
    SELECT m.id, m.tenant_id, m.name, least(unserved.due_at, plan.next_run_at), policy.name, plan.policy_id
      FROM policies_plan plan
      JOIN fleet_machine m ON m.id = plan.machine_id AND m.state = 'active' AND m.paused_at IS NULL
      JOIN policies_policy policy ON policy.id = plan.policy_id AND policy.paused_at IS NULL
      LEFT JOIN notifications_watchrules rules ON rules.tenant_id = m.tenant_id
      LEFT JOIN LATERAL (
           SELECT j.created_at FROM jobs_job j
            WHERE j.machine_id = plan.machine_id AND j.policy_id = plan.policy_id AND j.state IN ('done', 'warnings')
            ORDER BY j.created_at DESC LIMIT 1) good ON true
      LEFT JOIN LATERAL (
           SELECT j.due_at FROM jobs_job j
            WHERE j.machine_id = plan.machine_id AND j.policy_id = plan.policy_id
              AND j.due_at > coalesce(good.created_at, '-infinity') AND j.state <> 'cancelled'
            ORDER BY j.due_at LIMIT 1) unserved ON true
     WHERE least(unserved.due_at, plan.next_run_at) < %(now)s - make_interval(hours =>
           CASE WHEN m.tags @> '["laptop"]' OR coalesce(m.facts ->> 'chassis', '') = 'laptop'
                THEN coalesce(rules.laptop_overdue, %(laptop_overdue)s)
                ELSE coalesce(rules.server_overdue, %(server_overdue)s) END)
     LIMIT %(most)s
"""
DAMAGED_SQL = """
    SELECT m.id, m.tenant_id, m.name, NULL, count(*), NULL
      FROM vaults_vault v
      JOIN catalog_snapshot hurt ON hurt.vault_id = v.id AND hurt.state = 'damaged'
      JOIN fleet_machine m ON m.id = hurt.machine_id
     GROUP BY m.id LIMIT %(most)s
"""
WORK_FAILED_SQL = """
    SELECT NULL, j.tenant_id, '', NULL, count(*), NULL
      FROM jobs_job j
     WHERE j.state = 'failed' AND j.machine_id IS NULL AND j.finished_at > %(now)s - interval '1 day'
     GROUP BY j.tenant_id LIMIT %(most)s
"""
