"""Whose job goes next: tenants take turns, the one with the fewest at work first, and no limit is exceeded."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job that is due and whose machine is there."""

    job_id: UUID
    tenant_id: UUID
    machine_id: UUID
    groups: tuple[UUID, ...] = ()


@dataclass(slots=True)
class Room:
    """How many may run at once, and how many do: in all, by tenant, by group. What has no limit is not asked about."""

    per_tenant: int
    tenants: dict[UUID, int] = field(default_factory=dict)
    groups: dict[UUID, int] = field(default_factory=dict)
    target: int | None = None
    held: Counter[UUID] = field(default_factory=Counter)
    """At work now, by tenant."""
    held_in_groups: Counter[UUID] = field(default_factory=Counter)

    def has_space(self, one: Waiting) -> bool:
        """Whether this job may begin now."""
        if self.is_full() or self.held[one.tenant_id] >= self.tenants.get(one.tenant_id, self.per_tenant):
            return False
        return all(self.held_in_groups[group] < self.groups[group] for group in one.groups)

    def is_full(self) -> bool:
        """Whether the target takes no more."""
        return self.target is not None and self.held.total() >= self.target

    def occupy(self, one: Waiting) -> None:
        """Count a job that begins."""
        self.held[one.tenant_id] += 1
        self.held_in_groups.update(one.groups)


def share_out(waiting: Iterable[Waiting], room: Room, limit: int) -> list[Waiting]:
    """Choose at most `limit` jobs; `waiting` is each tenant's in the order in which that tenant wants them.

    Always the next job of the tenant that has the fewest at work: a tenant that floods waits for itself only.
    """
    lines = _lines(waiting)
    turns = [(room.held[tenant], place, tenant) for place, tenant in enumerate(lines)]
    heapq.heapify(turns)
    chosen: list[Waiting] = []
    while turns and len(chosen) < limit:
        _, place, tenant = heapq.heappop(turns)
        one = _next(lines[tenant], room)
        if one is not None:
            room.occupy(one)
            chosen.append(one)
            heapq.heappush(turns, (room.held[tenant], place, tenant))
    return chosen


def _lines(waiting: Iterable[Waiting]) -> dict[UUID, deque[Waiting]]:
    lines: defaultdict[UUID, deque[Waiting]] = defaultdict(deque)
    for one in waiting:
        lines[one.tenant_id].append(one)
    return dict(lines)


def _next(line: deque[Waiting], room: Room) -> Waiting | None:
    """The first of a tenant's line that has space; those before it have none, and will not get any in this round."""
    while line:
        one = line.popleft()
        if room.has_space(one):
            return one
    return None


def groups_by_machine(rows: Sequence[tuple[UUID, UUID]]) -> dict[UUID, tuple[UUID, ...]]:
    """(machine, group) pairs as a machine's groups."""
    found: defaultdict[UUID, list[UUID]] = defaultdict(list)
    for machine_id, group_id in rows:
        found[machine_id].append(group_id)
    return {machine_id: tuple(groups) for machine_id, groups in found.items()}
