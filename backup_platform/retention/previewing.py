"""What would go: by the rules in force, or by others that nobody has saved yet. Nothing is written here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Exists, OuterRef
from django.utils import timezone

from backup_platform.catalog.models import Snapshot
from backup_platform.fleet.models import Machine
from backup_platform.policies.effective import effective_in_bulk
from backup_platform.policies.models import Policy
from backup_platform.policies.supposing import supposed

from .defaults import delays_of
from .following import RulesReader, wanted_rules
from .guarding import FEW
from .judging import THERE, Judge, Judged
from .measuring import Freed, freed_by
from .planning import GOOD, Decision
from .rows import Series
from .rules import Rules, joined, keeps_as_much

MOST_MACHINES = 500
"""In one preview: a person looks at it, and each machine is read."""

Choice = Callable[[Series, Rules], Rules]
"""Which rules take the place of those in force for a series."""


@dataclass(slots=True)
class MachinePreview:
    """One machine: its snapshots with what becomes of each, by series."""

    machine: Machine
    judged: list[Judged]
    going_now: frozenset[UUID] = frozenset()
    """Those that the rules in force would drop anyway."""
    stopped: bool = False
    """So many would go that the run would stop and ask."""

    @property
    def decisions(self) -> list[Decision]:
        """All snapshots, newest first."""
        return sorted((one for series in self.judged for one in series.decisions),
                      key=lambda one: one.facts.received_at, reverse=True)  # fmt: skip

    @property
    def expiring(self) -> list[Snapshot]:
        """The snapshots that would go."""
        return [series.snapshots[one.facts.id] for series in self.judged for one in series.expiring]

    @property
    def staying(self) -> int:
        """How many would stay."""
        return len(self.decisions) - len(self.expiring)

    @property
    def newly(self) -> list[Snapshot]:
        """Those that would go and do not go by the rules in force."""
        return [one for one in self.expiring if one.pk not in self.going_now]


@dataclass(slots=True)
class Preview:
    """What would go on some machines, and what that would free."""

    at: datetime
    machines: list[MachinePreview] = field(default_factory=list)
    freed: Freed = field(default_factory=Freed)
    left_out: int = 0
    """Machines beyond `MOST_MACHINES` that were not looked at."""
    shrinks: bool = False
    """Whether the other rules keep less somewhere than those in force: then they take effect after the delay."""
    takes_effect_at: datetime | None = None

    @property
    def expiring(self) -> int:
        """How many snapshots would go."""
        return sum(len(one.expiring) for one in self.machines)

    @property
    def newly(self) -> int:
        """How many of them would go by the new rules only."""
        return sum(len(one.newly) for one in self.machines)

    @property
    def keeping(self) -> int:
        """How many would stay."""
        return sum(len(one.decisions) for one in self.machines) - self.expiring


def preview_now(tenant_id: UUID, machines: Sequence[Machine] | None = None, *, announced: bool = False) -> Preview:
    """What the next run would drop by the rules in force; `announced`: by what the policies want, delays over."""
    if not announced:
        return _preview(tenant_id, machines, None)
    wanted = wanted_rules(tenant_id)
    return _preview(tenant_id, machines, wanted.get)


def preview_policy(policy: Policy, settings: Mapping[str, Any], machines: Sequence[Machine] | None = None) -> Preview:
    """What would go if the policy had these settings of its own and they were in force."""
    chosen = list(machines) if machines is not None else machines_of(policy)
    rules, read = {}, RulesReader()
    for one in supposed(policy, settings, [machine.pk for machine in chosen]):
        rules[one.machine.pk] = (one.applies, read.rules(one))
    by_hand = _by_hand(policy, [machine.pk for machine in chosen], rules)

    def choice(series: Series, in_force: Rules) -> Rules:
        machine_id, policy_id = series
        if policy_id == policy.pk and machine_id in rules:
            return rules[machine_id][1]
        return by_hand.get(machine_id, in_force) if policy_id is None else in_force

    return _preview(policy.tenant_id, chosen, choice)


def _by_hand(policy: Policy, machines: list[UUID], rules: Mapping[UUID, tuple[bool, Rules]]) -> dict[UUID, Rules]:
    """What snapshots made by hand would follow: the longest of the other policies there and of the changed one."""
    read, applying = RulesReader(), {pk: [found] for pk, (applies, found) in rules.items() if applies}
    for one in effective_in_bulk(policy.tenant_id, None, machines):
        if one.applies and one.policy.pk != policy.pk:
            applying.setdefault(one.machine.pk, []).append(read.rules(one))
    return {pk: joined(found) for pk, found in applying.items()}


def machines_of(policy: Policy) -> list[Machine]:
    """The machines that have a plan of the policy, or snapshots of it, by name."""
    planned = policy.plans.filter(machine=OuterRef("pk"))
    made = Snapshot.objects.filter(machine=OuterRef("pk"), policy=policy, state__in=THERE)
    found = Machine.objects.filter(tenant_id=policy.tenant_id).filter(Exists(planned) | Exists(made))
    return list(found.order_by("name"))


def _preview(tenant_id: UUID, machines: Sequence[Machine] | None, choice: Choice | None) -> Preview:
    if machines is None:
        made = Snapshot.objects.filter(machine=OuterRef("pk"), state__in=THERE)
        machines = list(Machine.objects.filter(Exists(made), tenant_id=tenant_id).order_by("name"))
    looked = list(machines[:MOST_MACHINES])
    found = Preview(timezone.now(), left_out=len(machines) - len(looked))
    delays = delays_of(tenant_id)
    judge = Judge(tenant_id, found.at, [machine.pk for machine in looked])
    for machine in looked:
        now = judge.machine(machine)
        then = now if choice is None else judge.machine(machine, rules=choice)
        going = frozenset(one.facts.id for series in now for one in series.expiring)
        found.machines.append(MachinePreview(machine, then, going, _stops(then, delays.guard_percent)))
        found.shrinks = found.shrinks or _shrinks(now, then)
    found.takes_effect_at = found.at + delays.shrink if found.shrinks else None
    found.freed = freed_by(snapshot for one in found.machines for snapshot in one.expiring)
    return found


def _stops(judged: Iterable[Judged], percent: int) -> bool:
    series = list(judged)
    dropping = sum(one.facts.state == GOOD for found in series for one in found.expiring)
    good = sum(one.facts.state == GOOD for found in series for one in found.decisions)
    return dropping >= FEW and dropping * 100 > good * percent


def _shrinks(now: Iterable[Judged], then: Iterable[Judged]) -> bool:
    other = {one.policy_id: one.rules for one in then}
    return any(not keeps_as_much(other.get(one.policy_id, one.rules), one.rules) for one in now)
