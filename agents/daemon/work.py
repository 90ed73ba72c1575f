"""The jobs of one daemon: one of a kind at a time, and what is still to be reported of earlier ones."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from agents import scratch
from agents.daemon import conditions
from agents.daemon.children import Child, start
from agents.daemon.configuration_file import Loaded
from agents.daemon.job_file import JobFile
from agents.daemon.job_records import JobRecords, Result
from agents.errors import AgentError, HomeBusy
from protocol.wire import messages

if TYPE_CHECKING:
    from agents.state import AgentHome

log = logging.getLogger("strongroom.daemon")

BUSY = 10.0
"""Seconds until a job is offered again that found another one running."""
OFF = 1800.0
MOST_UNREPORTED = 50
"""Jobs in hand and unreported; beyond them nothing is accepted (CONTROL names at most 64)."""
TOTALS = "totals.json"


class Work:
    """One thread uses it."""

    def __init__(self, home: AgentHome) -> None:
        self._home = home
        self._records = JobRecords(home.path)
        self.running: dict[bytes, Child] = {}
        self.ended: dict[bytes, Child] = {}
        for record in self._records.all():
            offered = record.offered()
            if offered is not None:
                child = Child(record, offered)
                (self.ended if record.result() else self.running)[child.job] = child
        self._tidy()

    # --- offers ----------------------------------------------------------------------------------

    def offered(self, offer: messages.Offer, loaded: Loaded, zone: str, progress_seconds: float) -> messages.Accepted:
        """Take a job, or say why not now."""
        running = self.running.get(offer.job)
        if running is not None:
            running.renew(offer.lease)
            return messages.Accepted(accepted=True)
        reason, retry_after = self._objection(offer, loaded)
        if reason:
            log.info("job %s declined: %s", offer.job.hex()[:8], reason)
            return messages.Accepted(accepted=False, reason=reason, retry_after=retry_after)
        self.ended.pop(offer.job, None)  # of an earlier attempt, which the platform has given up
        self._start(offer, zone, progress_seconds)
        return messages.Accepted(accepted=True)

    def _objection(self, offer: messages.Offer, loaded: Loaded) -> tuple[str, float]:
        configuration = loaded.configuration
        if not configuration.daemon.accept_jobs:
            return "This machine takes no jobs: its agent.toml says so.", OFF
        if any(child.kind == offer.kind for child in self.running.values()):
            return f"Another {offer.kind} is running on this machine.", BUSY
        if len(self.running) + len(self.ended) >= MOST_UNREPORTED:
            return "Too many earlier jobs of this machine are not reported yet.", BUSY
        if offer.kind not in ("backup", "drill"):
            return "", 0.0
        if offer.kind == "backup" and self._is_backing_up_by_hand():
            return "A backup that somebody started by hand is running on this machine.", BUSY
        hindrance = conditions.hindrance(configuration.limits, _settings(_spec(offer)))
        return hindrance, conditions.LATER if hindrance else 0.0

    def _is_backing_up_by_hand(self) -> bool:
        try:
            with self._home.locked():
                return False
        except HomeBusy:
            return True

    def _start(self, offer: messages.Offer, zone: str, progress_seconds: float) -> None:
        spec = _spec(offer)
        record = self._records.add(offer.job, offer.lease, offer.kind, spec)
        offered = record.offered()
        assert offered is not None
        policy = spec.get("policy")
        name = policy[:100] if isinstance(policy, str) else ""
        files, size = self._totals().get(str(spec.get("policy_id", "")), (0, 0))
        job_file = JobFile(
            job=offer.job.hex(),
            policy=name,
            settings=_settings(spec),
            zone=zone,
            progress_seconds=progress_seconds,
            expected_files=files,
            expected_bytes=size,
        )
        self.running[offer.job] = start(record, offered, job_file)
        log.info("job %s (%s %s) began", offer.job.hex()[:8], offer.kind, name)

    # --- while they run --------------------------------------------------------------------------

    def look(self) -> bool:
        """Look after every process; returns whether a job has ended."""
        done = [child for child in self.running.values() if child.poll()]
        for child in done:
            del self.running[child.job]
            if child.disowned:
                child.record.remove()
                continue
            self.ended[child.job] = child
            if child.kind == "drill":
                self._tidy()
            self._remember(child)
            result = child.record.result()
            log.info("job %s ended: %s %s", child.job.hex()[:8], result and result.outcome, result and result.message)
        return bool(done)

    def _tidy(self) -> None:
        """A drill that was killed could not clean up after itself."""
        try:
            scratch.sweep(self._home)
        except AgentError as fault:
            log.warning("%s", fault)

    def cancel(self, job: bytes) -> None:
        """End a job soon; it is reported as it ended."""
        if job in self.running:
            self.running[job].interrupt("cancel")

    def disown(self, job: bytes) -> None:
        """The platform gave the job to somebody else: end it, and report nothing."""
        ended = self.ended.pop(job, None)
        if ended is not None:
            ended.record.remove()
        if job in self.running:
            self.running[job].disowned = True
            self.running[job].interrupt("shutdown")

    def stop_all(self) -> None:
        """The daemon is to end: interrupt everything; it goes on where it stopped, some other time."""
        for child in self.running.values():
            child.interrupt("shutdown")

    # --- what the platform is told ---------------------------------------------------------------

    def in_hand(self) -> list[messages.RunningJob]:
        """Every job that is not reported yet."""
        children = [*self.running.values(), *self.ended.values()]
        return [messages.RunningJob(job=child.job, lease=child.offered.lease) for child in children]

    def reports(self) -> Iterator[tuple[Child, messages.Report]]:
        """What is to be reported."""
        for child in list(self.ended.values()):
            result = child.record.result()
            if result is not None:
                yield child, _report(child, result)

    def reported(self, child: Child) -> None:
        """It is in the platform's database, or nobody there wants it."""
        self.ended.pop(child.job, None)
        child.record.remove()

    def retries_of(self, child: Child) -> int:
        """How often the job's own connections were tried again."""
        result = child.record.result()
        return result.counts.get("retries", 0) if result else 0

    # --- how much a policy held ------------------------------------------------------------------

    def _totals(self) -> dict[str, tuple[int, int]]:
        try:
            return msgspec.json.decode(self._totals_path.read_bytes(), type=dict[str, tuple[int, int]])
        except (OSError, msgspec.MsgspecError):
            return {}

    def _remember(self, child: Child) -> None:
        """What a policy's backup held is what the next one is measured by."""
        result, policy = child.record.result(), child.offered.spec.get("policy_id")
        if result is None or not result.snapshot or not policy:
            return
        totals = dict(list(self._totals().items())[-100:])
        totals[str(policy)] = (result.counts.get("files", 0), result.counts.get("bytes", 0))
        with contextlib.suppress(OSError):
            self._totals_path.write_bytes(msgspec.json.encode(totals))

    @property
    def _totals_path(self) -> Path:
        return self._home.path / "jobs" / TOTALS


def _spec(offer: messages.Offer) -> dict[str, Any]:
    """The description; one that is no object describes nothing, and the job fails with a sentence."""
    try:
        spec = json.loads(offer.spec)
    except ValueError:
        return {}
    return spec if isinstance(spec, dict) else {}


def _settings(spec: dict[str, Any]) -> dict[str, Any]:
    settings = spec.get("settings")
    return settings if isinstance(settings, dict) else {}


def _report(child: Child, result: Result) -> messages.Report:
    try:
        snapshot = bytes.fromhex(result.snapshot)
    except ValueError:
        snapshot = b""
    counts = {name: value for name, value in result.counts.items() if 0 <= value < 2**63}
    return messages.Report(
        job=child.job,
        lease=child.offered.lease,
        outcome=result.outcome,
        message=result.message[:1000],
        advice=result.advice[:1000],
        snapshot=snapshot if len(snapshot) == 16 else b"",
        counts=dict(list(counts.items())[:32]),
    )
