"""Offering: which due jobs a gateway may offer to its machines now. Fair between tenants, within every limit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib.postgres.functions import RandomUUID
from django.db import connection, transaction
from django.db.models import CharField, Count
from django.db.models.functions import Cast
from django.utils import timezone

from backup_platform.fleet.models import GroupMembership
from backup_platform.jobs.fairness import Room, Waiting, groups_by_machine, share_out
from backup_platform.jobs.models import HELD, Job, JobLimits, JobState
from backup_platform.jobs.states import Step, take
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.tenants.stored import stored_under_quotas

OFFER_LEASE = timedelta(seconds=60)
"""An agent that does not answer an offer within this is taken for gone."""
USUAL_MOST_RUNNING = 50
"""At once in a tenant that has no limit of its own."""
TARGET = "local"
"""Every tenant's data goes to this target first, so its limit counts all jobs."""
MOST_OFFERS = 500
LOCK_CLASS, LOCK_KEY = 0x5354_4A4F, 1
"""The advisory lock of handing out: one gateway at a time counts and takes, so no limit is ever exceeded."""

# Each machine's first due job, then each tenant's first so many; what a machine began by itself is nobody's to offer.
# The machines are the asking gateway's own, whose certificates it has checked: that is this statement's tenant
# condition, and a job's tenant is its machine's.
WAITING_SQL = """
    SELECT id, tenant_id, machine_id FROM (
        SELECT job.*, machine.id AS machine_id, machine.tenant_id, row_number() OVER (
            PARTITION BY machine.tenant_id ORDER BY job.priority DESC, job.due, job.id) AS place
        FROM unnest(%(machines)s::uuid[]) AS asked(id)
        JOIN fleet_machine machine ON machine.id = asked.id AND machine.state = 'active'
        CROSS JOIN LATERAL (
            SELECT EXISTS (SELECT 1 FROM jobs_job other
                           WHERE other.tenant_id = machine.tenant_id AND other.machine_id = machine.id
                             AND other.kind = 'backup' AND other.state IN ('offered', 'running', 'cancelling')) AS busy
            OFFSET 0) AS held
        CROSS JOIN LATERAL (
            SELECT job.id, job.priority, COALESCE(job.due_at, job.created_at) AS due
            FROM jobs_job job LEFT JOIN policies_policy policy ON policy.id = job.policy_id
            WHERE job.machine_id = machine.id AND job.tenant_id = machine.tenant_id AND job.state = 'queued'
              AND job.next_attempt_at <= %(now)s AND job.origin <> 'machine'
              AND (job.deadline IS NULL OR job.deadline > %(now)s OR job.attempts > 0)
              AND (job.kind <> 'backup'
                   OR NOT held.busy AND machine.paused_at IS NULL AND policy.paused_at IS NULL
                      AND (NOT machine.tenant_id = ANY(%(no_room)s) OR EXISTS (
                           SELECT 1 FROM catalog_wanted wanted WHERE wanted.machine_id = machine.id)))
            ORDER BY job.priority DESC, due, job.id LIMIT 1
        ) AS job
        WHERE NOT machine.tenant_id = ANY(%(full_tenants)s)
          AND NOT EXISTS (SELECT 1 FROM fleet_groupmembership place
                          WHERE place.machine_id = machine.id AND place.group_id = ANY(%(full_groups)s))
    ) ranked WHERE place <= %(limit)s ORDER BY place, id
"""


@dataclass(frozen=True, slots=True)
class Offer:
    """A job for one of a gateway's machines. Who has the lease may write about the job, nobody else."""

    job_id: UUID
    machine_id: UUID
    lease: str
    kind: str
    spec: dict[str, Any]


def next_offers(machine_ids: Sequence[UUID], gateway: str, limit: int) -> list[Offer]:
    """Take due jobs of these machines for offering, at most `limit`, and give each a lease of a minute.

    Tenants take turns, those with the fewest jobs at work first; inside a tenant priority goes before due time. A
    machine gets one job a call and never two backups at once; paused machines and policies get no backups, and those of
    tenants whose quota is used up only if they are asked for chunks that heal.
    """
    if not machine_ids or limit < 1:
        return []
    with without_tenant_scope("a gateway holds machines of many tenants"), transaction.atomic():
        hand_out_alone()
        now = timezone.now()
        room = find_room()
        waiting = [] if room.is_full() else _waiting(list(machine_ids), room, min(limit, MOST_OFFERS), now)
        return _take(share_out(waiting, room, min(limit, MOST_OFFERS)), gateway, now)


def hand_out_alone() -> None:
    """Wait until no other transaction hands out jobs; the database's lock time-out is the end of the wait."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [LOCK_CLASS, LOCK_KEY])


def find_room() -> Room:
    """What may run at once, and what does."""
    held = Job.objects.filter(machine__isnull=False, state__in=HELD).order_by()
    counts = Counter(dict(held.values_list("tenant_id").annotate(Count("pk"))))
    room = Room(USUAL_MOST_RUNNING, held=counts)
    for tenant_id, group_id, target, most in JobLimits.objects.values_list(
        "tenant_id", "group_id", "target", "most_running"
    ):
        if group_id:
            room.groups[group_id] = most
        elif tenant_id:
            room.tenants[tenant_id] = most
        elif target == TARGET:
            room.target = most
    if room.groups:
        room.held_in_groups = Counter(_held_in(list(room.groups)))
    return room


def _held_in(groups: list[UUID]) -> dict[UUID, int]:
    places = GroupMembership.objects.filter(group_id__in=groups, machine__jobs__state__in=HELD).order_by()
    return dict(places.values_list("group_id").annotate(Count("machine__jobs")))


def _waiting(machine_ids: list[UUID], room: Room, limit: int, now: datetime) -> list[Waiting]:
    asked: dict[str, Any] = {
        "machines": machine_ids,
        "now": now,
        "limit": limit,
        "full_tenants": [one for one in room.held if room.held[one] >= room.tenants.get(one, room.per_tenant)],
        "no_room": [one.tenant_id for one in stored_under_quotas() if one.full],
        "full_groups": [one for one, most in room.groups.items() if room.held_in_groups[one] >= most],
    }
    with connection.cursor() as cursor:
        cursor.execute(WAITING_SQL, asked)
        rows = cursor.fetchall()
    groups = _groups_of([row[2] for row in rows], room) if room.groups and rows else {}
    return [Waiting(job, tenant, machine, groups.get(machine, ())) for job, tenant, machine in rows]


def _groups_of(machine_ids: list[UUID], room: Room) -> dict[UUID, tuple[UUID, ...]]:
    places = GroupMembership.objects.filter(group_id__in=list(room.groups), machine_id__in=machine_ids)
    return groups_by_machine(list(places.values_list("machine_id", "group_id")))


def _take(chosen: list[Waiting], gateway: str, now: datetime) -> list[Offer]:
    """Move the chosen to *offered*; one that was cancelled this very moment stays where it is."""
    if not chosen:
        return []
    until = now + OFFER_LEASE
    jobs = Job.objects.filter(pk__in=[one.job_id for one in chosen])
    take(
        Step.OFFER,
        jobs,
        lease_owner=Cast(RandomUUID(), CharField()),
        lease_until=until,
        next_attempt_at=until,
        gateway=gateway[:64],
    )
    mine = jobs.filter(state=JobState.OFFERED, lease_until=until)
    found = {job.pk: job for job in mine.only("machine_id", "lease_owner", "kind", "spec")}
    order = [found[one.job_id] for one in chosen if one.job_id in found]
    return [Offer(job.pk, job.machine_id, job.lease_owner, job.kind, job.spec) for job in order if job.machine_id]
