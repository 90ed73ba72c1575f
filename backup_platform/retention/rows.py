"""Standings as rows and back."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from .models import Term
from .rules import as_settings, rules_of
from .shrinking import Standing

Series = tuple[UUID, UUID | None]
"""A machine and a policy; no policy: what was made by hand there."""


def standing_of(row: Term) -> Standing:
    """What a row says."""
    pending = None if row.pending is None else rules_of(row.pending)
    ages = tuple((datetime.fromisoformat(since), int(days)) for since, days in row.ages)
    return Standing(rules_of(row.in_force), pending, row.takes_effect_at, ages)


def write_into(row: Term, standing: Standing) -> Term:
    """Make a row say this."""
    row.in_force = as_settings(standing.in_force)
    row.pending = None if standing.pending is None else as_settings(standing.pending)
    row.takes_effect_at = standing.takes_effect_at
    row.ages = [[since.isoformat(), days] for since, days in standing.ages]
    return row


def standings_of(tenant_id: UUID, machines: list[UUID] | None = None) -> dict[Series, Standing]:
    """The standings of a tenant's series, or of some machines'. What is absent keeps everything."""
    rows = Term.objects.filter(tenant_id=tenant_id)
    if machines is not None:
        rows = rows.filter(machine_id__in=machines)
    return {(row.machine_id, row.policy_id): standing_of(row) for row in rows}
