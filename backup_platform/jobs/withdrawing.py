"""Taking back what waits for machines when its reason is gone."""

from __future__ import annotations

from django.utils import timezone

from backup_platform.jobs.models import Job, JobKind
from backup_platform.jobs.states import Step, take
from backup_platform.policies.models import Policy


def withdraw_of_policy(policy: Policy, by: str) -> int:
    """Cancel the backups of a policy that wait for their machines, as somebody deletes it; how many.

    What runs goes on to its end: its snapshot is as good as any. Call it in the tenant's scope and in the transaction
    that deletes the policy, after its plans are gone. The line in the audit is the caller's.
    """
    waiting = Job.objects.filter(policy_id=policy.pk, kind=JobKind.BACKUP, machine__isnull=False)
    reason = f"Its policy “{policy.name}” was deleted by {by}."[:500]
    return take(Step.WITHDRAW, waiting, last_error=reason, advice="", cancel_asked_at=timezone.now())
