"""Legal holds: set at once, released by one person or two. While one is in force, nothing that it covers expires."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from backup_platform.audit.services import record as record_audit
from backup_platform.catalog.chunk_index import vault_lock
from backup_platform.catalog.models import Snapshot
from backup_platform.fleet.models import Machine
from backup_platform.notifications.services import raise_alert, resolve_alert
from backup_platform.notifications.words import AlertKind, Level
from backup_platform.policies.models import Policy
from backup_platform.tenants.asking import Asker, allowed
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import tenant_scope
from backup_platform.vaults.models import Vault

from .defaults import delays_of
from .ending import ended
from .errors import RetentionRefused
from .holding import in_force
from .models import Hold, HoldScope
from .running import ask_tenant
from .turns import take_turn

MANAGE = "holds.manage"
MOST_IN_FORCE = 500
"""Of one tenant: each is a condition in every query about what may go, and in every look at a snapshot."""


def set_hold(
    tenant: Tenant,
    case: str,
    reason: str,
    *,
    by: Asker,
    scope: str = HoldScope.TENANT,
    about: Machine | Policy | Snapshot | None = None,
    received_from: datetime | None = None,
    received_until: datetime | None = None,
    until: datetime | None = None,
) -> Hold:
    """Set a hold, in force from this moment. `about` is the machine, policy or snapshot that the scope names.

    Raises `RetentionRefused`. It covers what comes later too, within its times of receipt.
    """
    actor = allowed(by, MANAGE, tenant)
    hold = Hold(tenant=tenant, case=_line(case, 100, "Name the case."), reason=_line(reason, 500, "Say why."),
                scope=HoldScope(scope), received_from=received_from, received_until=received_until, until=until,
                set_by=actor[:200])  # fmt: skip
    with tenant_scope(tenant), transaction.atomic(), ExitStack() as locks:
        wait_for_reclaim(locks, tenant)  # before the turn, as reclaim takes them: else each may wait for the other
        take_turn(tenant.pk)  # a run that expires snapshots just now ends first, or waits for this hold
        _check_times(hold, timezone.now())
        _check_number(tenant)
        _aim(hold, about)
        hold.needs_second = delays_of(tenant.pk).release_needs_second
        hold.save(force_insert=True)
        record_audit("hold.set", actor=actor, object=f"hold:{hold.pk}", tenant=tenant, **facts_of(hold))
        ask_tenant(tenant.pk)
    return hold


def wait_for_reclaim(locks: ExitStack, tenant: Tenant) -> None:
    """What reclaims works under a vault's exclusive lock: it has seen this hold, or has ended before."""
    for number in Vault.objects.filter(tenant=tenant).order_by("number").values_list("number", flat=True):
        locks.enter_context(vault_lock(number, shared=True))


def release_hold(hold: Hold, *, by: Asker, because: str) -> bool:
    """Release a hold, or ask for it where two persons must agree; whether it is released now. `RetentionRefused`."""
    actor = allowed(by, MANAGE, hold)
    why = _line(because, 300, "Say why it is released.")
    with tenant_scope(hold.tenant_id), transaction.atomic():
        take_turn(hold.tenant_id)
        row = Hold.objects.select_for_update(of=("self",)).get(pk=hold.pk)
        if row.released_at:
            raise RetentionRefused("It is released already.")
        if _needs_another(row, actor):
            _ask(row, actor, why)
            return False
        ended(row, by=actor, because=why, now=timezone.now())
        resolve_alert(row.tenant_id, _key(row), f"Released by {actor}.")
        ask_tenant(row.tenant_id)
    return True


def withdraw_request(hold: Hold, *, by: Asker) -> None:
    """Leave a hold in force whose release was asked for. Raises `RetentionRefused`."""
    actor = allowed(by, MANAGE, hold)
    with tenant_scope(hold.tenant_id), transaction.atomic():
        asked = Hold.objects.filter(pk=hold.pk, released_at__isnull=True).exclude(asked_by="")
        if not asked.update(asked_by="", asked_at=None, asked_because=""):
            raise RetentionRefused("Nobody asks for its release.")
        record_audit("hold.release_refused", actor=actor, object=f"hold:{hold.pk}", tenant=hold.tenant_id)
        resolve_alert(hold.tenant_id, _key(hold), f"{actor} left the hold in force.")


def _needs_another(row: Hold, actor: str) -> bool:
    """Whether this person's word is not enough: two are needed, and nobody else has asked before.

    What was in force when the hold was set counts, and what is in force now: switching it off frees no old hold.
    """
    if not (row.needs_second or delays_of(row.tenant_id).release_needs_second):
        return False
    if row.asked_by == actor:
        raise RetentionRefused("You have asked for its release; another person has to agree to it.")
    return not row.asked_by


def _ask(row: Hold, actor: str, why: str) -> None:
    Hold.objects.filter(pk=row.pk).update(asked_by=actor[:200], asked_at=timezone.now(), asked_because=why)
    record_audit("hold.release_asked", actor=actor, object=f"hold:{row.pk}", tenant=row.tenant_id, case=row.case,
                 because=why)  # fmt: skip
    raise_alert(
        row.tenant_id, AlertKind.OTHER, f"hold:{row.pk}", Level.WARNING,
        f"{actor} asks for the release of the hold “{row.case}”.",
        "Another person who may manage holds agrees to it, or leaves it in force.", _key(row),
    )  # fmt: skip


def _key(hold: Hold) -> str:
    return f"hold:{hold.pk}"


def _check_times(hold: Hold, now: datetime) -> None:
    if hold.until is not None and hold.until <= now:
        raise RetentionRefused("Its end lies in the past; leave it empty for a hold without an end.")
    if hold.received_from and hold.received_until and hold.received_from >= hold.received_until:
        raise RetentionRefused("It covers no time: “received from” lies not before “received until”.")


def _check_number(tenant: Tenant) -> None:
    """In the tenant's turn, so that two at once do not both take the last place."""
    if in_force(tenant.pk, timezone.now()).count() >= MOST_IN_FORCE:
        raise RetentionRefused(
            f"{MOST_IN_FORCE} legal holds are in force here, and there can be no more. Release those whose matter is "
            "over, or set one that covers more: a machine, what a policy makes, or everything."
        )


KINDS: Mapping[str, type[Any]] = {HoldScope.MACHINE: Machine, HoldScope.POLICY: Policy, HoldScope.SNAPSHOT: Snapshot}


def _aim(hold: Hold, about: Machine | Policy | Snapshot | None) -> None:
    """Point a hold at what it is about, if that is there and the tenant's own."""
    kind = KINDS.get(hold.scope)
    if kind is None:
        if about is not None:
            raise RetentionRefused("A hold on everything names no machine, policy or snapshot.")
        return
    if not isinstance(about, kind) or not kind.objects.filter(pk=about.pk).exists():
        raise RetentionRefused(f"Choose the {hold.scope} that it covers.")
    setattr(hold, f"{hold.scope}_id", about.pk)
    hold.about = str(about)[:200]


def _line(text: str, most: int, otherwise: str) -> str:
    kept = " ".join(str(text).split())[:most]
    if not kept:
        raise RetentionRefused(otherwise)
    return kept


def facts_of(hold: Hold) -> dict[str, Any]:
    """What the audit says of a hold that is set."""
    about = hold.machine_id or hold.policy_id or hold.snapshot_id
    times = {"received_from": hold.received_from, "received_until": hold.received_until, "until": hold.until}
    return {"case": hold.case, "reason": hold.reason, "scope": hold.scope, **({"about": about} if about else {}),
            **{name: value for name, value in times.items() if value}}  # fmt: skip
