"""A machine's snapshots and what becomes of each: facts read from rows, then the plan of each series."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from uuid import UUID

from django.db.models import QuerySet

from backup_platform.catalog.models import Snapshot, SnapshotState
from backup_platform.fleet.models import Machine
from backup_platform.policies.timetable import ScheduleFault, zone_named

from .holding import cases_of, in_force
from .models import Expiry, Hold
from .planning import Decision, Facts, plan
from .rows import Series, standings_of
from .rules import Rules
from .shrinking import Standing, minimum_days

THERE = (SnapshotState.RECEIVED, SnapshotState.VERIFIED, SnapshotState.DAMAGED)
LIGHT = ("pk", "tenant_id", "vault_id", "machine_id", "policy_id", "sequence", "state", "received_at", "tags")


@dataclass(slots=True)
class Judged:
    """The snapshots of one series, newest first, each with what becomes of it."""

    machine: Machine
    policy_id: UUID | None
    """None: made by hand, or by a policy that is gone."""
    rules: Rules
    """The rules that were applied."""
    decisions: list[Decision] = field(default_factory=list)
    snapshots: dict[UUID, Snapshot] = field(default_factory=dict)

    @property
    def expiring(self) -> list[Decision]:
        """Those that nothing keeps."""
        return [one for one in self.decisions if not one.keep]


class Judge:
    """Judges machines of one tenant at one moment; what is the same for all of them is read once."""

    def __init__(self, tenant_id: UUID, now: datetime, machines: list[UUID] | None = None) -> None:
        self.tenant_id, self.now = tenant_id, now
        self.standings: Mapping[Series, Standing] = standings_of(tenant_id, machines)
        self.holds: list[Hold] = list(in_force(tenant_id, now))

    def machine(
        self, machine: Machine, *, lock: bool = False, rules: Callable[[Series, Rules], Rules] | None = None
    ) -> list[Judged]:
        """What becomes of a machine's snapshots, by series. With `lock` their rows are locked until the transaction
        ends; `rules` may put others in place of those in force."""
        by_series: dict[UUID | None, list[Snapshot]] = defaultdict(list)
        for snapshot in self._snapshots(machine, lock):
            by_series[snapshot.policy_id].append(snapshot)
        protected = self._brought_back(machine)
        zone = zone_of(machine)
        found = []
        for policy_id, snapshots in by_series.items():
            standing = self.standings.get((machine.pk, policy_id), Standing())
            applied = rules((machine.pk, policy_id), standing.in_force) if rules else standing.in_force
            facts = [self._facts(one, standing, applied, protected) for one in snapshots]
            decisions = plan(facts, applied, zone, self.now)
            found.append(Judged(machine, policy_id, applied, decisions, {one.pk: one for one in snapshots}))
        return found

    def _snapshots(self, machine: Machine, lock: bool) -> QuerySet[Snapshot]:
        rows = Snapshot.objects.filter(tenant_id=self.tenant_id, machine_id=machine.pk, state__in=THERE)
        rows = rows.only(*LIGHT).order_by("pk")
        return rows.select_for_update(of=("self",), no_key=True) if lock else rows

    def _brought_back(self, machine: Machine) -> dict[UUID, datetime]:
        rows = Expiry.objects.filter(snapshot__machine_id=machine.pk, protected_until__gt=self.now)
        found = rows.order_by("protected_until").values_list("snapshot_id", "protected_until")
        return {pk: until for pk, until in found if until is not None}

    def _facts(self, one: Snapshot, standing: Standing, rules: Rules, protected: Mapping[UUID, datetime]) -> Facts:
        return Facts(
            id=one.pk,
            received_at=one.received_at,
            state=one.state,
            tags=frozenset(one.tags),
            holds=cases_of(one, self.holds),
            minimum_days=max(minimum_days(standing.ages, one.received_at), rules.minimum_age_days),
            brought_back_until=protected.get(one.pk),
        )


def zone_of(machine: Machine) -> tzinfo:
    """The machine's time zone; one that it does not name, or that does not exist, is read as UTC."""
    try:
        return zone_named(machine.zone)
    except ScheduleFault:
        return zone_named("UTC")
