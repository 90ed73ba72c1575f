"""The table of defences, by the room that each stands in."""

from __future__ import annotations

from tests.defences.defence import Defence
from tests.defences.rows import (
    agent,
    catalogue,
    control,
    daemon,
    doors_review,
    drills,
    fleet,
    gateway,
    jobs,
    keys,
    notifications,
    platform,
    policies,
    protocol,
    quotas,
    reading,
    rebuilding,
    reclaim,
    restoring,
    retention,
    scrubbing,
    sealing,
    slow_targets,
    storage_faults,
    storage_pages,
    storage_review,
    targets,
    tenants,
    tiering,
)

ROWS: tuple[Defence, ...] = tuple(
    sorted(
        (
            *sealing.ROWS,
            *slow_targets.ROWS,
            *keys.ROWS,
            *reading.ROWS,
            *reclaim.ROWS,
            *rebuilding.ROWS,
            *restoring.ROWS,
            *scrubbing.ROWS,
            *agent.ROWS,
            *protocol.ROWS,
            *gateway.ROWS,
            *control.ROWS,
            *daemon.ROWS,
            *doors_review.ROWS,
            *drills.ROWS,
            *fleet.ROWS,
            *catalogue.ROWS,
            *jobs.ROWS,
            *targets.ROWS,
            *retention.ROWS,
            *tenants.ROWS,
            *storage_faults.ROWS,
            *storage_pages.ROWS,
            *storage_review.ROWS,
            *tiering.ROWS,
            *platform.ROWS,
            *policies.ROWS,
            *notifications.ROWS,
            *quotas.ROWS,
        ),
        key=lambda row: (row.law.startswith("law"), int(row.law[4:]) if row.law.startswith("law") else 0, row.law),
    )
)
"""Bindings of keys and formats first, then the laws by number."""
