"""What a page shows of a job while it runs: a bar where one would move, words where it would not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.utils import timezone

from backup_platform.console import showing
from backup_platform.jobs.models import UNFINISHED, Job, JobKind, JobLine, JobOrigin, JobState
from backup_platform.jobs.progress import PHASES, fraction

SHOWN_LINES = 200
WAITING = {
    JobState.QUEUED: "Waiting for its turn",
    JobState.OFFERED: "Offered to the machine",
    JobState.CANCELLING: "The machine was asked to stop it",
}


@dataclass(frozen=True, slots=True)
class Live:
    """A job as it stands, in words and figures."""

    job: Job
    words: str
    percent: int | None
    """For a bar; None where there is nothing to measure yet, or no more."""
    figures: list[tuple[str, str]]
    lines: list[JobLine] = field(default_factory=list)
    more_lines: bool = False

    @property
    def moves(self) -> bool:
        """Whether it is worth looking again soon."""
        return self.job.state in UNFINISHED


def show(job: Job, *, with_lines: bool = False) -> Live:
    """What to show of a job; with its newest log lines if asked for."""
    progress = job.progress if job.machine_id and isinstance(job.progress, dict) else {}
    part = fraction(progress) if job.state == JobState.RUNNING else None
    percent = None if part is None else round(part * 100)
    lines = list(job.lines.order_by("-id")[: SHOWN_LINES + 1]) if with_lines else []
    shown = lines[:SHOWN_LINES][::-1]
    return Live(job, words_for(job, progress), percent, _figures(job, progress), shown, len(lines) > SHOWN_LINES)


def words_for(job: Job, progress: dict[str, Any]) -> str:
    """One short sentence of where the job is."""
    if job.state == JobState.QUEUED and job.origin == JobOrigin.MACHINE:
        return "Waits for its machine to go on"
    if job.state == JobState.QUEUED and job.next_attempt_at > timezone.now():
        seconds = (job.next_attempt_at - timezone.now()).total_seconds()
        offered = job.machine_id is not None and not job.attempts
        return f"{'Offered' if offered else 'Tried again'} in {showing.duration(max(seconds, 1))}"
    if job.state in WAITING:
        return WAITING[JobState(job.state)]
    if job.state != JobState.RUNNING:
        return ""
    phase = PHASES.get(progress.get("phase", ""))
    return phase or ("Begun" if job.kind in (JobKind.BACKUP, JobKind.RESTORE) else "At work")


def _figures(job: Job, progress: dict[str, Any]) -> list[tuple[str, str]]:
    """What is known, and nothing that is not: no dashes, no noughts."""
    source = progress if job.state in UNFINISHED else {}
    rows = [
        ("Data", _of(source, "bytes", showing.size)),
        ("Files", _of(source, "files", _whole)),
        ("Rate", f"{showing.size(source['rate'])}/s" if source.get("rate") else ""),
        ("Remaining", f"about {showing.duration(source['remaining'])}" if source.get("remaining") else ""),
        ("File", str(source.get("file", ""))),
        *((name.replace("_", " ").capitalize(), _counted(name, value)) for name, value in sorted(job.counts.items())),
    ]
    return [(label, value) for label, value in rows if value]


def _of(progress: dict[str, Any], what: str, way: Any) -> str:
    done, total = progress.get(f"{what}_done"), progress.get(f"{what}_total")
    if done is None:
        return ""
    return f"{way(done)} of {way(total)}" if total else str(way(done))


def _counted(name: str, value: float) -> str:
    """One of the figures of an agent's report. A code that says nothing is left out."""
    if name == "exit_code" and not value:
        return ""
    return showing.size(int(value)) if name.startswith("bytes") else _whole(value)


def _whole(count: float) -> str:
    return showing.number(int(count))


def summary(live: Live) -> str:
    """A line for a list: words, and the figures that matter most."""
    parts = [live.words] if live.percent is None else [f"{live.percent} %"]
    wanted = ("Data", "Rate", "Remaining") if live.moves else ()
    parts += [value for label, value in live.figures if label in wanted]
    return " · ".join(part for part in parts if part)
