"""What the end of an agent's job means for alerts: called in the transaction that ends it."""

from __future__ import annotations

from backup_platform.jobs.models import Job, JobKind, JobState
from backup_platform.notifications.models import Alert
from backup_platform.notifications.services import close, raise_alert
from backup_platform.notifications.words import AlertKind, Level
from backup_platform.tenants.scope import tenant_scope

BAD_ENDS = {
    JobState.FAILED: (AlertKind.FAILED, Level.ERROR),
    JobState.MISSED: (AlertKind.MISSED, Level.WARNING),
    JobState.WARNINGS: (AlertKind.WARNINGS, Level.WARNING),
}
GOOD_ENDS = (JobState.DONE, JobState.WARNINGS)


def job_ended(job: Job) -> None:
    """Raise or resolve what this job's end says. Reads the job as given; the row must be in its final state.

    A failed, missed or half-done run stays an alert until the same work (the policy on the machine; a restore or a
    backup by hand on its own, a machine's drills together) has ended well. A cancelled one says nothing: it was wanted.
    """
    if job.tenant_id is None or job.machine_id is None:
        return
    with tenant_scope(job.tenant_id):
        if job.state in GOOD_ENDS:
            _over(job)
        if job.state in BAD_ENDS:
            _raise(job)


def key_of(kind: str, job: Job) -> str:
    """The dedupe key of such an alert."""
    alone = {JobKind.BACKUP: "by-hand", JobKind.DRILL: "any"}
    work = job.policy_id or alone.get(JobKind(job.kind), job.pk)
    return f"{kind}:{job.kind}:{work}:{job.machine_id}"


def _over(job: Job) -> None:
    ended_well = [kind for state, (kind, _) in BAD_ENDS.items() if state != job.state]
    keys = [key_of(kind, job) for kind in ended_well]
    close(Alert.objects.filter(dedupe_key__in=keys), "The next run ended well.")


def _raise(job: Job) -> None:
    kind, level = BAD_ENDS[JobState(job.state)]
    raise_alert(
        job.tenant_id, kind, f"machine:{job.machine_id}", level, _text(job, kind), job.advice or ADVICE[kind],
        key_of(kind, job), machine_id=job.machine_id,
    )  # fmt: skip


def _text(job: Job, kind: AlertKind) -> str:
    assert job.machine is not None
    what = f"{job.get_kind_display()} {job.policy.name}" if job.policy else job.get_kind_display()
    said = {
        AlertKind.FAILED: "failed",
        AlertKind.MISSED: f"was due at {job.due_at:%Y-%m-%d %H:%M} UTC and missed" if job.due_at else "was missed",
        AlertKind.WARNINGS: HALF_DONE.get(JobKind(job.kind), "was done, but not all of it"),
    }[kind]
    return f"{what} of {job.machine.name} {said}." + (f" {job.last_error}" if job.last_error else "")


HALF_DONE = {
    JobKind.BACKUP: "was done, but some sources could not be saved",
    JobKind.DRILL: "was done, and found something",
}
ADVICE = {
    AlertKind.FAILED: "Open the job: its log says what happened. Retry it when the cause is gone.",
    AlertKind.MISSED: "The machine was away or busy all the time. Is the window long enough, and the machine on then?",
    AlertKind.WARNINGS: "Open the job: its log names what was left out, and why.",
}
