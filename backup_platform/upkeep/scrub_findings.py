"""What scrubs found: a row for each damaged thing, open until it is healed, and an alert when it cannot be."""

from __future__ import annotations

import logging
from pathlib import PurePosixPath
from uuid import UUID

from django.db import IntegrityError, connection, transaction
from django.db.models import F, Q
from django.utils import timezone
from pyroaring import BitMap64

from backup_platform.audit.services import record as record_audit
from backup_platform.catalog.models import Pack, Snapshot, SnapshotState
from backup_platform.notifications.services import raise_alert, resolve_alert
from backup_platform.notifications.words import AlertKind, Level
from backup_platform.targets.models import Target
from backup_platform.upkeep.models import FindingKind, FindingState, ScrubFinding

logger = logging.getLogger(__name__)

ACTOR = "scrub"
MOST_NAMED = 5
MOST_LOOKED_AT = 1_000
ADVICE = "docs/operations/damaged-data.md says what else can be done."
OF_A_PACK = f"The machine is asked for what is missing: let it back up with these files in place. {ADVICE}"
OF_AN_OBJECT = (
    "No machine can send this again. Bring back a target that is away, or put the object back from a copy of your own; "
    f"until then this snapshot cannot be restored, others can. {ADVICE}"
)
DAMAGED_SQL = "SELECT number FROM catalog_chunk WHERE vault = %s AND pack = %s AND state = 2"


def note_finding(
    kind: FindingKind,
    tenant_id: UUID,
    subject: str,
    fault: str,
    *,
    pack: Pack | None = None,
    target: Target | None = None,
    key: str = "",
    records: int = 0,
) -> ScrubFinding:
    """Write down that something is damaged; what is open already counts up. `target` None: the home directory."""
    same = ScrubFinding.objects.filter(subject=subject, target=target, key=key).exclude(state=FindingState.HEALED)
    seen = {"seen_at": timezone.now(), "fault": fault[:500], "records": records}
    if same.update(count=F("count") + 1, **seen):
        return same.get()
    made = ScrubFinding(kind=kind, tenant_id=tenant_id, subject=subject, pack=pack, target=target, key=key, **seen)
    try:
        with transaction.atomic():
            made.save(force_insert=True)
    except IntegrityError:  # another scrub was first
        return same.get()
    return made


def note_healed(finding: ScrubFinding, how: str) -> None:
    """It is whole again: the finding is closed, its alert resolved, the audit told. `how`: "from the copy at …"."""
    with transaction.atomic():
        open_one = ScrubFinding.objects.filter(pk=finding.pk).exclude(state=FindingState.HEALED)
        if not open_one.update(state=FindingState.HEALED, how=how[:200], healed_at=timezone.now()):
            return
        resolve_alert(finding.tenant_id, _alert_key(finding), f"It was healed {how}.")
        record_audit("storage.healed", actor=ACTOR, object=finding.subject, tenant=finding.tenant_id,
                     key=finding.key, how=how)  # fmt: skip
    logger.info("Damage was healed.", extra={"subject": finding.subject, "how": how})


def note_lost(finding: ScrubFinding) -> None:
    """Nothing that is stored can heal it: an alert names the snapshots and the machine."""
    with transaction.atomic():
        ScrubFinding.objects.filter(pk=finding.pk).exclude(state=FindingState.HEALED).update(state=FindingState.LOST)
        said = f"{_what(finding)} is damaged and nothing that is stored can heal it. {finding.fault}"
        raise_alert(
            finding.tenant_id, AlertKind.OTHER, finding.subject, Level.ERROR,
            f"{said} {_consequences(finding)}".rstrip()[:500],
            OF_A_PACK if finding.pack is not None else OF_AN_OBJECT,
            dedupe_key=_alert_key(finding),
        )  # fmt: skip


def close_healed(subject: str, how: str, target: Target | None, kind: FindingKind, key: str = "") -> int:
    """Close every open finding of this kind of a subject at one place that turned out to be whole; their number.

    With `key` only those of one object.
    """
    found = ScrubFinding.objects.filter(subject=subject, target=target, kind=kind).exclude(state=FindingState.HEALED)
    findings = list(found.filter(key=key) if key else found)
    for finding in findings:
        note_healed(finding, how)
    return len(findings)


def close_outgrown(limit: int = 200) -> int:
    """Close what a machine's new backup has healed: packs whose damaged records are whole elsewhere by now."""
    known = ~Q(state=FindingState.HEALED) & Q(kind__in=[FindingKind.PACK, FindingKind.COPY])
    closed = 0
    for finding in ScrubFinding.objects.filter(known, records__gt=0).select_related("pack__vault")[:limit]:
        if finding.pack is not None and finding.state == FindingState.LOST and not _numbers(finding.pack):
            note_healed(finding, "by its machine, which sent it again")
            closed += 1
    return closed


def _alert_key(finding: ScrubFinding) -> str:
    return f"unhealed:{finding.pk}"


def _what(finding: ScrubFinding) -> str:
    """The end of an object's key says what it is; of a pack only its records count."""
    kind = PurePosixPath(finding.key).suffix.removeprefix(".")
    return "Stored data" if finding.pack is not None or not kind else f"A stored {kind}"


def _consequences(finding: ScrubFinding) -> str:
    if finding.pack is None:
        return _whose_object(finding)
    hurt = hurt_snapshots(finding.pack)
    machines = sorted({snapshot.machine.name for snapshot in hurt})
    if not hurt:
        return "No snapshot is known to need it."
    named = ", ".join(str(snapshot) for snapshot in hurt[:MOST_NAMED])
    more = f" and {len(hurt) - MOST_NAMED} more" if len(hurt) > MOST_NAMED else ""
    return f"Damaged: snapshots {named}{more} of {', '.join(machines[:MOST_NAMED])}."


def _whose_object(finding: ScrubFinding) -> str:
    kind, _, name = finding.subject.partition(":")
    if kind != "snapshot":
        return ""
    snapshot = Snapshot.objects.select_related("machine").only("id", "machine__name").filter(pk=name).first()
    return f"Damaged: snapshot {snapshot} of {snapshot.machine.name}." if snapshot else ""


def hurt_snapshots(pack: Pack) -> list[Snapshot]:
    """The damaged snapshots that need a damaged record of this pack, newest first; at most a thousand are looked at."""
    numbers = _numbers(pack)
    damaged = Snapshot.objects.filter(vault_id=pack.vault_id, state=SnapshotState.DAMAGED).select_related("machine")
    found = []
    for snapshot in damaged.defer("blocks", "recipients")[:MOST_LOOKED_AT]:
        needs = None if snapshot.bitmap is None else BitMap64.deserialize(bytes(snapshot.bitmap))
        if needs is not None and needs.intersect(numbers):
            found.append(snapshot)
    return found


def damaged_records(pack: Pack) -> int:
    """How many records that the catalogue looks for in this pack it knows to be damaged, and not whole elsewhere."""
    return len(_numbers(pack))


def _numbers(pack: Pack) -> BitMap64:
    with connection.cursor() as cursor:
        cursor.execute(DAMAGED_SQL, [pack.vault.number, pack.pk])
        return BitMap64(row[0] for row in cursor)
