"""What the backup connection of a job's child process has to do with the job: it may begin, and its snapshot is noted.

Called by gateways with the machine that the connection's certificate names.
"""

from __future__ import annotations

from uuid import UUID

from django.db import transaction
from django.db.models import Q, Subquery

from backup_platform.catalog.models import Snapshot
from backup_platform.jobs.models import Job, JobKind, JobState
from backup_platform.tenants.scope import without_tenant_scope

WHOSE = "the connection's certificate says which machine this is"
HAS_IT = Q(state__in=(JobState.OFFERED, JobState.RUNNING)) | Q(state=JobState.QUEUED) & ~Q(lease_owner="")
"""Also a job whose lease ran out and that nobody else was offered: the machine may still take it up again."""


def begin_backup(job_id: UUID, machine_id: UUID) -> bool:
    """Whether this machine may begin a backup for the job: it is the machine's own, and nobody took it back."""
    with without_tenant_scope(WHOSE):
        return Job.objects.filter(HAS_IT, pk=job_id, machine_id=machine_id, kind=JobKind.BACKUP).exists()


def note_snapshot(job_id: UUID, machine_id: UUID, snapshot: UUID) -> bool:
    """Note what a job's backup committed, also when its report gets lost later, and the snapshot's policy, which says
    how long it stays. False: it is not the machine's job."""
    with without_tenant_scope(WHOSE), transaction.atomic():
        mine = Job.objects.filter(pk=job_id, machine_id=machine_id, kind=JobKind.BACKUP)
        noted = mine.exclude(state__in=(JobState.MISSED, JobState.CANCELLED)).update(snapshot=snapshot)
        if noted:
            made = Snapshot.objects.filter(pk=snapshot, machine_id=machine_id, policy=None)
            made.update(policy=Subquery(mine.values("policy")))
        return bool(noted)
