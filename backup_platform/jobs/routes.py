"""Which task does a job, and from which queue. The names are the whole bond between the platform and its workers."""

from __future__ import annotations

from dataclasses import dataclass

from backup_platform.jobs.models import JobKind


@dataclass(frozen=True, slots=True)
class Route:
    """A task's name and its queue."""

    task: str
    queue: str


ROUTES: dict[tuple[str, str], Route] = {
    (JobKind.VERIFY, "pack"): Route("strongroom.verify_pack", "verify"),
    (JobKind.VERIFY, "target"): Route("strongroom.probe_target", "tier"),
    (JobKind.DEDUPLICATE, "pack"): Route("strongroom.deduplicate_pack", "verify"),
    (JobKind.VERIFY, "snapshot"): Route("strongroom.complete_snapshot", "verify"),
    (JobKind.RECLAIM, "vault"): Route("strongroom.reclaim_vault", "tier"),
    (JobKind.COMPACT, "vault"): Route("strongroom.compact_vault", "tier"),
    (JobKind.TIER, "pack"): Route("strongroom.tier_pack", "tier"),
    (JobKind.TIER, "snapshot"): Route("strongroom.tier_snapshot", "tier"),
    (JobKind.TIER, "target"): Route("strongroom.tier_target", "tier"),
    (JobKind.EXPIRE, "tenant"): Route("strongroom.expire_tenant", "tier"),
    (JobKind.EXPIRE, "machine"): Route("strongroom.expire_machine", "tier"),
    (JobKind.EXPIRE, "records"): Route("strongroom.write_lifecycle", "tier"),
    **{(JobKind.SCRUB, kind): Route("strongroom.scrub_one", "tier") for kind in ("pack", "copy", "snapshot", "vault")},
    **{(JobKind.HEAL, kind): Route("strongroom.heal_one", "tier") for kind in ("pack", "copy", "snapshot", "vault")},
    (JobKind.SCRUB, "parity"): Route("strongroom.make_parity", "tier"),
    (JobKind.REBUILD, "platform"): Route("strongroom.back_up_platform", "tier"),
}


def route_of(kind: str, subject: str) -> Route:
    """The route of a job by its kind and what its subject is; KeyError when no task does such work."""
    return ROUTES[(kind, subject.partition(":")[0])]
