"""What people do about expiry: bring back, let expire by hand, tag, confirm a stopped run, set the tenant's delays.

`by` is the person who asks, whose right is checked here, or the name of a command. Holds: holds.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from backup_platform.audit.services import record as record_audit
from backup_platform.catalog.chunk_index import vault_lock
from backup_platform.catalog.models import Snapshot, SnapshotState
from backup_platform.catalog.work import ask_to_complete
from backup_platform.notifications.services import resolve_alert
from backup_platform.policies.errors import SettingRefused
from backup_platform.policies.retention_settings import tag as checked_tag
from backup_platform.tenants.asking import Asker, allowed
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import tenant_scope, whole_tenant
from backup_platform.vaults.models import Vault
from protocol.stored.lifecycle import LifecycleEvent

from . import lifecycle
from .clocks import rest_in_force
from .defaults import delays_of
from .errors import RetentionRefused
from .expiring import expire
from .guarding import key_of
from .judging import Judge, Judged
from .models import Expiry, ExpiryStop, Hold, RetentionRules
from .planning import GOOD, LAST_GOOD, Decision
from .running import ask_machine
from .turns import take_turn
from .weakening import tell_of_weaker

MANAGE = "snapshots.manage"
MOST_TAGS = 20
WHOLE = "what expires is decided over all of a tenant's holds and rules"


def expire_by_hand(snapshot: Snapshot, *, by: Asker, reason: str) -> None:
    """Let one snapshot expire now, as a rule would: it can be brought back for the same days.

    Raises `RetentionRefused` for one that is held, too young, not verified yet, or the last good one.
    """
    actor = allowed(by, MANAGE, snapshot)
    why = _sentence(reason, "Say why it shall expire.")
    with tenant_scope(snapshot.tenant_id), whole_tenant(WHOLE), transaction.atomic():
        take_turn(snapshot.tenant_id)
        now = timezone.now()
        if rest := rest_in_force(now):
            raise RetentionRefused(f"{rest} See that it is right; after that, try again.")
        judged, decision = _judged(snapshot, now)
        _check_may_go(judged, decision)
        expire({f"By hand: {why}"[:300]: [judged.snapshots[snapshot.pk]]}, by=actor, now=now)


def _judged(snapshot: Snapshot, now: datetime) -> tuple[Judged, Decision]:
    for judged in Judge(snapshot.tenant_id, now, [snapshot.machine_id]).machine(snapshot.machine, lock=True):
        for decision in judged.decisions:
            if decision.facts.id == snapshot.pk:
                return judged, decision
    raise RetentionRefused("It has expired already, or is gone.")


def _check_may_go(judged: Judged, decision: Decision) -> None:
    facts = decision.facts
    if facts.holds:
        raise RetentionRefused(f"It is under the hold “{facts.holds[0]}”; while that is in force, nothing expires it.")
    if facts.state not in (GOOD, SnapshotState.DAMAGED):
        raise RetentionRefused("It is not verified yet; wait until it is, then try again.")
    too_young = [reason for reason in decision.reasons if reason.startswith("younger than the minimum age")]
    if too_young:
        raise RetentionRefused(f"It is {too_young[0]}; nobody can shorten that. Wait until {decision.until:%Y-%m-%d}.")
    if LAST_GOOD in decision.reasons:
        raise RetentionRefused("The newest good snapshot of a series always stays. Make a new one first.")
    others = [one for one in judged.decisions if one.facts.id != facts.id]
    if facts.state != GOOD and not any(one.facts.state == GOOD for one in others):
        raise RetentionRefused("There is no good snapshot of its series; keep it until there is one.")


def bring_back(snapshot: Snapshot, *, by: Asker) -> str:
    """Undo an expiry; the state that it has now. No rule drops it for as many days as it could have been brought back.

    If damage was found in its vault meanwhile, it is checked anew before it counts as good again.
    """
    actor = allowed(by, MANAGE, snapshot)
    with tenant_scope(snapshot.tenant_id), whole_tenant(WHOLE):
        vault = Vault.objects.get(pk=snapshot.vault_id)
        with vault_lock(vault.number, shared=True):
            now = timezone.now()
            row = Snapshot.objects.select_for_update(no_key=True).defer("bitmap", "blocks").get(pk=snapshot.pk)
            if row.state != SnapshotState.EXPIRED:
                raise RetentionRefused(_not_expired(row))
            expiry = Expiry.objects.filter(snapshot=row, brought_back_at__isnull=True).first()
            state = _state_now(row, expiry, Vault.objects.get(pk=vault.pk).generation)
            _restore(row, expiry, state, actor, now)
    return state


def _not_expired(row: Snapshot) -> str:
    if row.state == SnapshotState.RECLAIMED:
        return "Its days for being brought back are over, and its data was reclaimed."
    return f"It has not expired: it is {row.get_state_display().lower()}."


def _state_now(row: Snapshot, expiry: Expiry | None, generation: int) -> str:
    """Good again only if no damage was found in the vault since; else the check decides."""
    unharmed = expiry is not None and expiry.generation == generation
    if row.state_before == SnapshotState.VERIFIED and unharmed:
        return SnapshotState.VERIFIED
    return SnapshotState.RECEIVED


def _restore(row: Snapshot, expiry: Expiry | None, state: str, actor: str, now: datetime) -> None:
    changed = Snapshot.objects.filter(pk=row.pk, state=SnapshotState.EXPIRED).update(
        state=state, state_before="", expired_at=None, expired_because=""
    )
    if not changed:
        raise RetentionRefused("Somebody else was faster; load the page again.")
    until = now + delays_of(row.tenant_id).undelete
    if expiry is None:
        expiry = Expiry(tenant_id=row.tenant_id, snapshot=row, at=row.expired_at or now, by="", because="", until=now)
    expiry.brought_back_at, expiry.brought_back_by, expiry.protected_until = now, actor[:200], until
    expiry.save()
    lifecycle.append([row.pk], LifecycleEvent.UNDELETED, {"by": actor[:200]}, tenant_id=row.tenant_id, at=now)
    record_audit(
        "snapshot.brought_back", actor=actor, object=f"snapshot:{row.pk}", tenant=row.tenant_id, state=state,
        protected_until=until,
    )  # fmt: skip
    if state == SnapshotState.RECEIVED:
        ask_to_complete(row)


def set_tags(snapshot: Snapshot, tags: Iterable[str], *, by: Asker) -> list[str]:
    """Give a snapshot these tags and no others: a rule that keeps a tag keeps what bears it. `RetentionRefused`."""
    actor = allowed(by, MANAGE, snapshot)
    try:
        wanted = sorted({checked_tag(one) for one in tags if one.strip()})
    except SettingRefused as fault:
        raise RetentionRefused(str(fault)) from None
    if len(wanted) > MOST_TAGS:
        raise RetentionRefused(f"At most {MOST_TAGS} tags on a snapshot.")
    with tenant_scope(snapshot.tenant_id), transaction.atomic():
        row = Snapshot.objects.select_for_update(no_key=True).only("pk", "tags").get(pk=snapshot.pk)
        if row.tags != wanted:
            Snapshot.objects.filter(pk=row.pk).update(tags=wanted)
            record_audit("snapshot.tagged", actor=actor, object=f"snapshot:{row.pk}", tenant=snapshot.tenant_id,
                         before=row.tags, after=wanted)  # fmt: skip
    return wanted


def confirm_stop(stop: ExpiryStop, *, by: Asker, seen: Iterable[str] | None = None) -> None:
    """Let a stopped run go on: exactly the snapshots that it named may expire. Raises `RetentionRefused`.

    `seen` are the ids that the person was shown: if the run meanwhile found others, they must look again.
    """
    actor = allowed(by, MANAGE, stop.machine)
    with tenant_scope(stop.tenant_id), transaction.atomic():
        row = ExpiryStop.objects.select_for_update(of=("self",)).get(pk=stop.pk)
        if row.closed_at or row.confirmed_at:
            raise RetentionRefused("It was confirmed already, or is no longer asked.")
        if seen is not None and sorted(seen) != sorted(row.snapshots):
            raise RetentionRefused("The run has found other snapshots meanwhile; look at them first.")
        ExpiryStop.objects.filter(pk=row.pk).update(confirmed_at=timezone.now(), confirmed_by=actor[:200])
        record_audit("expiry.confirmed", actor=actor, object=f"machine:{row.machine_id}", tenant=row.tenant_id,
                     dropping=row.dropping, good=row.good)  # fmt: skip
        resolve_alert(row.tenant_id, key_of(stop.machine), f"Confirmed by {actor}.")
        ask_machine(stop.machine)


def set_rules(tenant: Tenant, *, by: Asker, **values: Any) -> RetentionRules:
    """Change a tenant's delays, guard and rule about releases; audited. Raises `RetentionRefused`.

    What protects less than before is told as an alert: it is what somebody with a stolen account would begin with.
    """
    actor = allowed(by, "tenant.manage", tenant)
    floors = {"undelete_days": settings.STRONGROOM_UNDELETE_DAYS, "shrink_days": settings.STRONGROOM_SHRINK_DAYS}
    for name, least in floors.items():
        if values.get(name) is not None and values[name] < least:
            raise RetentionRefused(f"The platform asks for at least {least} days here; write more, or leave it empty.")
    with tenant_scope(tenant), transaction.atomic():
        RetentionRules.objects.get_or_create(tenant=tenant)
        row = RetentionRules.objects.select_for_update(of=("self",)).get(tenant=tenant)
        before, former = {name: getattr(row, name) for name in values}, delays_of(tenant.pk)
        for name, value in values.items():
            setattr(row, name, value)
        try:
            row.clean_fields(exclude=["tenant"])
        except ValidationError as fault:
            raise RetentionRefused(" ".join(fault.messages)) from None
        row.save(update_fields=list(values))
        record_audit("retention.rules_changed", actor=actor, object=f"tenant:{tenant.pk}", tenant=tenant,
                     before=before, after=values)  # fmt: skip
        if row.release_needs_second and not former.release_needs_second:
            # Else one person could switch it off again, and release alone what was set before.
            Hold.objects.filter(tenant=tenant, released_at__isnull=True).update(needs_second=True)
        tell_of_weaker(tenant, former, delays_of(tenant.pk), actor)
    return row


def _sentence(text: str, otherwise: str) -> str:
    kept = " ".join(text.split())[:280]
    if not kept:
        raise RetentionRefused(otherwise)
    return kept


def snapshot_of(pk: UUID) -> Snapshot | None:
    """A snapshot of the scope, without the columns that may be megabytes."""
    rows = Snapshot.objects.select_related("machine").defer("bitmap", "blocks", "recipients", "statement")
    found: Snapshot | None = rows.filter(pk=pk).first()
    return found
