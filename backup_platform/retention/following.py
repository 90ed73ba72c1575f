"""Let what is in force follow the policies: longer at once, shorter after the delay, both in the audit.

Policies change in many ways (their settings, assignments, groups, exclusions, deletions). All of them are found by
looking at what each policy comes to on each machine now, so none of them is a way around the delay.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import transaction

from backup_platform.audit.services import record as record_audit
from backup_platform.catalog.models import Snapshot, SnapshotState
from backup_platform.fleet.models import Machine
from backup_platform.policies.effective import Application, effective_in_bulk

from .clocks import rest_in_force
from .defaults import delays_of
from .models import Term
from .rows import Series, standing_of, write_into
from .rules import PREFIX, Rules, joined, rules_of
from .shrinking import Standing, follow
from .turns import take_turn

ACTOR = "retention"
LOT = 1000


def follow_policies(tenant_id: UUID, now: datetime) -> int:
    """Bring a tenant's rows up to date; how many series changed. Call it in the tenant's scope.

    Nothing changes while expiry rests: by a clock that has leapt every announced rule would take effect.
    """
    if rest_in_force(now):
        return 0
    with transaction.atomic():
        take_turn(tenant_id)
        rows = {(row.machine_id, row.policy_id): row for row in Term.objects.filter(tenant_id=tenant_id)}
        known = _series_with_snapshots(tenant_id)
        delay = delays_of(tenant_id).shrink
        changes: list[_Change] = []
        for series, wanted in wanted_rules(tenant_id, keep={*rows, *known}).items():
            row = rows.get(series)
            # A series without snapshots has nothing to lose: its first rules need no delay.
            before = standing_of(row) if row else Standing() if series in known else Standing(in_force=wanted)
            after = follow(before, wanted, now, delay)
            if after != (before if row else Standing()):
                changes.append(_Change(series, row, before, after))
        _write(tenant_id, changes)
        _tell(tenant_id, changes)
    return len(changes)


def wanted_rules(tenant_id: UUID, keep: Iterable[Series] = ()) -> dict[Series, Rules]:
    """What the policies want for each series: those in which a policy applies, those in `keep`, and each machine's
    snapshots made by hand, which the longest rules of all applying policies together keep."""
    kept = set(keep)
    machines = list(Machine.objects.filter(tenant_id=tenant_id).values_list("pk", flat=True))
    found: dict[Series, Rules] = {}
    by_hand: dict[UUID, list[Rules]] = defaultdict(list)
    read = RulesReader()
    for one in effective_in_bulk(tenant_id, None, machines):
        series = (one.machine.pk, one.policy.pk)
        if one.applies:
            by_hand[one.machine.pk].append(read.rules(one))
        if one.applies or series in kept:
            found[series] = read.rules(one)
    for machine_id in machines:
        found[machine_id, None] = joined(by_hand[machine_id])
    return found


class RulesReader:
    """Reads rules out of applications. Many machines share one map of settings: it is read once."""

    def __init__(self) -> None:
        self._read: dict[int, tuple[Mapping[str, Any], Rules]] = {}

    def rules(self, one: Application) -> Rules:
        """The rules of a policy on a machine."""
        known = self._read.get(id(one.settings))
        if known is None:  # the map is kept beside its rules, so that its id cannot be used again
            values = {name: value.value for name, value in one.settings.items() if name.startswith(PREFIX)}
            known = self._read[id(one.settings)] = (one.settings, rules_of(values))
        return known[1]


class _Change(NamedTuple):
    """What one series had, and what it is to have."""

    series: Series
    row: Term | None
    before: Standing
    after: Standing


def _series_with_snapshots(tenant_id: UUID) -> set[Series]:
    there = Snapshot.objects.filter(tenant_id=tenant_id).exclude(state=SnapshotState.RECLAIMED).order_by()
    return set(there.values_list("machine_id", "policy_id").distinct())


def _write(tenant_id: UUID, changes: list[_Change]) -> None:
    new, old = [], []
    for (machine_id, policy_id), row, _, after in changes:
        if row is None:
            new.append(write_into(Term(tenant_id=tenant_id, machine_id=machine_id, policy_id=policy_id), after))
        else:
            old.append(write_into(row, after))
    Term.objects.bulk_create(new, batch_size=LOT)
    Term.objects.bulk_update(old, ["in_force", "pending", "takes_effect_at", "ages"], batch_size=LOT)


def _tell(tenant_id: UUID, changes: list[_Change]) -> None:
    """One audit line for all machines on which the same policy changed in the same way."""
    same: dict[tuple[Any, ...], int] = defaultdict(int)
    for (_, policy_id), _, before, after in changes:
        if after.in_force != before.in_force:
            same["retention.in_force", policy_id, before.in_force.words(), after.in_force.words(), None] += 1
        if after.pending is not None and after.pending != before.pending:
            until = after.takes_effect_at
            same["retention.announced", policy_id, after.in_force.words(), after.pending.words(), until] += 1
        if before.pending is not None and after.pending is None and after.in_force != before.pending:
            same["retention.withdrawn", policy_id, before.pending.words(), after.in_force.words(), None] += 1
    for (verb, policy_id, before_words, after_words, until), machines in same.items():
        record_audit(
            verb,
            actor=ACTOR,
            object=f"policy:{policy_id}" if policy_id else "snapshots made by hand",
            tenant=tenant_id,
            before=before_words,
            after=after_words,
            machines=machines,
            **({"takes_effect_at": until} if until else {}),
        )
