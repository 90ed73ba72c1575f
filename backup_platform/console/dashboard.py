"""The dashboard: one sentence first, then what it rests on. Every number is a link to the list that it counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.db.models import Count, Q, Sum
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from backup_platform.catalog.models import Pack, Session, SessionState, Snapshot, SnapshotState
from backup_platform.console import showing
from backup_platform.console.attention import needs_attention
from backup_platform.console.first_steps import first_steps
from backup_platform.console.parts import check_worker
from backup_platform.console.site import actor_of
from backup_platform.fleet.models import Machine, MachineState
from backup_platform.fleet.presence import online_q, with_presence
from backup_platform.fleet.queries import with_last_snapshot
from backup_platform.jobs.models import UNFINISHED, Job, JobState
from backup_platform.tenants.access import may
from backup_platform.tenants.quotas import usage_of

OVERDUE = timedelta(hours=26)
"""A machine without a snapshot for longer than a day and a little is behind: daily is the least that people expect."""
SHOWN = 8


@dataclass(frozen=True)
class Tile:
    """One number on the dashboard."""

    label: str
    value: str
    note: str
    link: str
    tone: str = ""


@dataclass(frozen=True)
class Facts:
    """What the verdict is made from."""

    machines: int
    online: int
    revoked: int
    behind: int
    without: int
    damaged: int
    waiting: int
    verified: int
    failed_jobs: int
    running: int


@dataclass(frozen=True)
class Verdict:
    """One sentence, what to do about it, and how serious it is: good, busy, warning, bad, empty."""

    tone: str
    sentence: str
    advice: str = ""
    icon: str = field(default="")


ICONS = {"good": "verified_user", "busy": "cloud_upload", "warning": "schedule", "bad": "error", "empty": "flag"}


def fill_dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Unfold's callback for the admin's first page."""
    actor = actor_of(request)
    if actor is None:
        return context
    facts, worker = gather_facts(), check_worker()
    context.update(
        verdict=judge(facts, worker_at_work=worker.ok),
        worker=worker,
        attention=needs_attention(actor),
        everything=actor.tenant is None,
        tiles=make_tiles(request, facts),
        snapshots=_snapshots(),
        machines=_machines(),
        sessions=_sessions(),
        jobs=_jobs(),
        first_steps=first_steps(actor) if facts.machines == 0 and facts.revoked == 0 else [],
    )
    return context


def gather_facts() -> Facts:
    """Counts over the scope's machines, snapshots and jobs."""
    now = timezone.now()
    active = Machine.objects.filter(state=MachineState.ACTIVE)
    newest = with_last_snapshot(active)
    states = dict(Snapshot.objects.order_by().values_list("state").annotate(Count("pk")))
    failed = Q(state=JobState.FAILED, finished_at__gt=now - timedelta(days=1))
    return Facts(
        machines=active.count(),
        online=active.filter(online_q()).count(),
        revoked=Machine.objects.filter(state=MachineState.REVOKED).count(),
        behind=newest.filter(last_received_at__lt=now - OVERDUE).count(),
        without=newest.filter(last_received_at__isnull=True).count(),
        damaged=states.get(SnapshotState.DAMAGED, 0),
        waiting=states.get(SnapshotState.RECEIVED, 0),
        verified=states.get(SnapshotState.VERIFIED, 0),
        failed_jobs=Job.objects.filter(failed).count(),
        running=Session.objects.filter(state=SessionState.OPEN, lease_until__gt=now).count(),
    )


def judge(facts: Facts, *, worker_at_work: bool) -> Verdict:
    """The one sentence. The worst that is true is said first."""
    for verdict in _candidates(facts, worker_at_work):
        return Verdict(verdict.tone, verdict.sentence, verdict.advice, ICONS[verdict.tone])
    raise AssertionError("the last candidate always holds")


def _candidates(facts: Facts, worker_at_work: bool) -> list[Verdict]:
    say = _plural
    found: list[tuple[bool, Verdict]] = [
        (facts.damaged > 0, Verdict("bad", f"{say(facts.damaged, 'snapshot is', 'snapshots are')} damaged.",
                                    "What is damaged is asked for again from its machine; look at the list.")),
        (facts.machines == 0, Verdict("empty", "No machine is enrolled yet.", "Four steps to the first backup:")),
        (not worker_at_work, Verdict("bad", "New snapshots are stored, but nobody verifies them.",
                                     "No worker is at work: see the note below.")),
        (facts.failed_jobs > 0, Verdict("warning", f"{say(facts.failed_jobs, 'job', 'jobs')} failed in the last day.",
                                        "Open the list of jobs for the reasons.")),
        (facts.behind > 0, Verdict("warning", f"{say(facts.behind, 'machine has', 'machines have')} no snapshot of "
                                   "the last day.", "Is it switched on, and is the agent running?")),
        (facts.without > 0 and not facts.running, Verdict(
            "warning", f"{say(facts.without, 'machine has', 'machines have')} no snapshot yet.",
            "Assign a policy to them, or run “strongroom backup” there.")),
        (facts.running > 0, Verdict("busy", f"{say(facts.running, 'backup is', 'backups are')} running now.")),
        (facts.waiting > 0, Verdict("busy", f"{say(facts.waiting, 'snapshot is', 'snapshots are')} being verified.")),
        (True, Verdict("good", "Everything is backed up and verified.")),
    ]  # fmt: skip
    return [verdict for holds, verdict in found if holds]


def _plural(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def make_tiles(request: HttpRequest, facts: Facts) -> list[Tile]:
    """The row of numbers."""
    snapshots = reverse("admin:catalog_snapshot_changelist")
    return [
        Tile("Machines", showing.number(facts.machines), f"{facts.online:,} online",
             reverse("admin:fleet_machine_changelist") + "?state__exact=active"),
        Tile("Verified snapshots", showing.number(facts.verified), "every byte re-read and matched",
             snapshots + "?state__exact=verified", "good"),
        Tile("Being verified", showing.number(facts.waiting), "restorable, not yet counted as good",
             snapshots + "?state__exact=received"),
        Tile("Damaged", showing.number(facts.damaged), "asked for again where possible",
             snapshots + "?state__exact=damaged", "bad" if facts.damaged else ""),
        _storage_tile(request),
    ]  # fmt: skip


def _storage_tile(request: HttpRequest) -> Tile:
    """What is stored; of a tenant with a quota, how much of that."""
    actor = actor_of(request)
    link = reverse("admin:catalog_pack_changelist") if may(actor, "view", "catalog.Pack") else ""
    if actor is not None and actor.tenant is not None and not actor.is_limited:
        usage = usage_of(actor.tenant)
        if usage.share is not None:
            tone = "bad" if usage.full else "warning" if usage.nearly_full else ""
            note = f"{int(usage.share * 100)} % of the quota of {showing.size(usage.quota_bytes)}"
            return Tile("Storage used", showing.size(usage.stored_bytes), note, link, tone)
    stored = Pack.objects.aggregate(total=Sum("bytes"), packs=Count("pk"))
    return Tile("Storage used", showing.size(stored["total"] or 0), f"sealed packs: {stored['packs']:,}", link)


def _snapshots() -> list[Snapshot]:
    heavy = ("bitmap", "blocks", "recipients", "statement")
    newest = Snapshot.objects.defer(*heavy).select_related("machine", "tenant").order_by("-received_at")
    return list(newest[:SHOWN])


def _machines() -> list[Machine]:
    """Those that need a look first: longest without a snapshot."""
    active = with_presence(with_last_snapshot(Machine.objects.filter(state=MachineState.ACTIVE)))
    active = active.select_related("tenant")
    return list(active.order_by("last_received_at", "name")[:SHOWN])


def _sessions() -> list[Session]:
    running = Session.objects.filter(state=SessionState.OPEN).select_related("machine", "tenant")
    return list(running.order_by("-last_seen_at")[:SHOWN])


def _jobs() -> list[Job]:
    return list(Job.objects.filter(state__in=UNFINISHED).select_related("tenant").order_by("created_at")[:SHOWN])
