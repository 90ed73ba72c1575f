"""What changes targets. Doors call these; each one checks, writes and leaves a line in the audit."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.db import IntegrityError, transaction

from backup_platform.audit.services import record as record_audit
from backup_platform.storage.base import StoreUnavailable
from backup_platform.storage.local import LocalStore
from backup_platform.targets.availability import note_away, note_back
from backup_platform.targets.checking import PLACE_FIELDS, settle
from backup_platform.targets.credentials import Credentials
from backup_platform.targets.errors import TargetRefused
from backup_platform.targets.home import home_target
from backup_platform.targets.models import Target, TargetKind, TargetState
from backup_platform.targets.probing import ask_probe
from backup_platform.tenants.scope import without_tenant_scope

__all__ = ["Credentials", "TargetRefused", "ask_probe", "change_target", "create_target", "drain_target",
           "home_target", "note_away", "note_back", "pause_target", "resume_target", "retire_target",
           "set_credentials"]  # fmt: skip

FIXED = ("kind", "tenant_id", "path", "bucket", "prefix", "home")
"""What a target is: other values would leave its copies behind, unseen."""
CHANGEABLE = ("name", "endpoint", "region", "allow_private", "storage_class", "lock_days", "parity_percent",
              "capacity_bytes", "watermark_percent", "price", "currency")  # fmt: skip
KEPT = (*CHANGEABLE, "sealed", "flags", "probed_at")


def create_target(
    target: Target, credentials: Credentials | None, *, actor: str, staff: bool, probe: bool = True
) -> Target:
    """Keep a new target, made by the caller from its fields. A local directory is made a store.

    It is *new*, and not used, until a worker has probed it. `probe=False`: the caller does so itself, at once.
    `staff`: see `checking.settle`. Raises TargetRefused.
    """
    settle(target, credentials, staff=staff)
    target.home, target.state, target.created_by = False, TargetState.NEW, actor[:200]
    if target.kind == TargetKind.LOCAL:
        _make_directory(target)
    with transaction.atomic():
        _save(target)
        _note("target.added", target, actor, **_shown(target, (*PLACE_FIELDS, *CHANGEABLE)))
        if probe:
            ask_probe(target, actor=actor)
    return target


def change_target(target: Target, credentials: Credentials | None, *, actor: str, staff: bool) -> Target:
    """Keep a target that the caller changed. Another endpoint needs its credentials entered anew.

    What another probe is needed for asks for it. The caller may have read the row a while ago: what it did not change
    itself is taken from the row as it is now. Raises TargetRefused, also for a field that says where its copies lie.
    """
    _refuse_fixed(_row(target), target)
    settle(target, credentials, staff=staff)  # looks the endpoint's name up: not while the row is locked
    with transaction.atomic():
        before = _locked(target)
        _refuse_fixed(before, target)
        _refuse_sent_elsewhere(before, target, credentials)
        changed = [name for name in CHANGEABLE if getattr(before, name) != getattr(target, name)]
        untried = credentials is not None or bool({"endpoint", "region"} & set(changed))
        _take_over(before, target, credentials, untried=untried)
        _save(target, fields=KEPT)
        if changed:
            _note("target.changed", target, actor, **_shown(target, changed))
        if credentials is not None:
            _note("target.credentials_set", target, actor)
        if untried or {"storage_class", "lock_days"} & set(changed):
            ask_probe(target, actor=actor)
    return target


def set_credentials(target: Target, credentials: Credentials, *, actor: str, staff: bool) -> None:
    """New credentials of a bucket; the old ones are forgotten. Raises TargetRefused."""
    change_target(target, credentials, actor=actor, staff=staff)


def pause_target(target: Target, *, actor: str) -> None:
    """Write nothing there for a while; what is there is still read."""
    _move(target, (TargetState.ACTIVE, TargetState.NEW), TargetState.PAUSED, "target.paused", actor)


def resume_target(target: Target, *, actor: str) -> None:
    """Use it again, also in the middle of draining; one that no probe has found good yet is probed first."""
    with transaction.atomic():
        tried = _row(target).was_found_good
        to = TargetState.ACTIVE if tried else TargetState.NEW
        _move(target, (TargetState.PAUSED, TargetState.DRAINING), to, "target.resumed", actor)
        if not tried:
            ask_probe(target, actor=actor)


def drain_target(target: Target, *, actor: str) -> None:
    """Write nothing there any more; what is there is copied elsewhere, and goes."""
    _move(target, (TargetState.ACTIVE, TargetState.PAUSED), TargetState.DRAINING, "target.draining", actor)


def retire_target(target: Target, *, actor: str) -> None:
    """Never ask it again, and forget its credentials. Raises TargetRefused while copies are there."""
    with transaction.atomic(), without_tenant_scope("a shared target holds copies of every tenant"):
        Target.objects.select_for_update(of=("self",)).get(pk=target.pk)
        held = target.copies.exclude(state="gone").count()  # a relation of the catalogue
        if held:
            raise TargetRefused(
                f"{held:,} copies are at {target.name} still: drain it, and retire it when it is empty."
            )
        _move(target, tuple(TargetState), TargetState.RETIRED, "target.retired", actor)
        Target.objects.filter(pk=target.pk).update(sealed=b"", away_since=None, fault="")
    note_back(target)
    target.sealed = b""


def _make_directory(target: Target) -> None:
    try:
        LocalStore.create(Path(target.path))
    except StoreUnavailable as fault:
        raise TargetRefused(f"The directory cannot be used. {fault}", "path") from None


def _refuse_fixed(before: Target, target: Target) -> None:
    if any(getattr(before, name) != getattr(target, name) for name in FIXED):
        raise TargetRefused("Kind, tenant, bucket, prefix and directory of a target stay: its copies lie there. Add a"
                            " new target, and drain this one.")  # fmt: skip
    if before.home:
        raise TargetRefused("The platform's own directory is set up by its operator, not here.")
    if before.state == TargetState.RETIRED:
        raise TargetRefused(f"{before.name} is retired: it is not used any more. Add a new target.")


def _take_over(before: Target, target: Target, credentials: Credentials | None, *, untried: bool) -> None:
    """What the row says now and the caller may not: the credentials above all, which belong to the row's endpoint."""
    target.state = before.state
    target.flags, target.probed_at = ({}, None) if untried else (before.flags, before.probed_at)
    if credentials is None:
        target.sealed = before.sealed


def _refuse_sent_elsewhere(before: Target, target: Target, credentials: Credentials | None) -> None:
    """Whoever may change a target must not be able to let its credentials sign for a server of their choice."""
    moved = (before.endpoint, before.allow_private) != (target.endpoint, target.allow_private)
    if target.kind == TargetKind.S3 and moved and credentials is None:
        raise TargetRefused(
            "Enter the credentials anew: they are not used with another endpoint unasked.", "access_key"
        )


def _move(target: Target, sources: Iterable[TargetState], to: TargetState, verb: str, actor: str) -> None:
    if target.home:
        raise TargetRefused("The platform's own directory is always in use: every pack comes there first.")
    with transaction.atomic(), without_tenant_scope("a shared target belongs to no tenant"):
        if not Target.objects.filter(pk=target.pk, state__in=list(sources)).update(state=to):
            now = _row(target).get_state_display().lower()
            raise TargetRefused(f"{target.name} is {now}: this cannot be done with it now.")
        _note(verb, target, actor)
    target.state = to


def _row(target: Target) -> Target:
    with without_tenant_scope("a shared target belongs to no tenant"):
        return Target.objects.get(pk=target.pk)


def _locked(target: Target) -> Target:
    with without_tenant_scope("a shared target belongs to no tenant"):
        return Target.objects.select_for_update(of=("self",)).get(pk=target.pk)


def _save(target: Target, fields: Iterable[str] | None = None) -> None:
    """Make the row, or write these fields of it."""
    try:
        with transaction.atomic(), without_tenant_scope("a shared target belongs to no tenant"):
            target.save(force_insert=fields is None, update_fields=fields)
    except IntegrityError:
        raise TargetRefused(f"There is a target named {target.name!r} already.", "name") from None


def _note(verb: str, target: Target, actor: str, **detail: Any) -> None:
    record_audit(verb, actor=actor, object=f"target:{target.pk}", tenant=target.tenant_id,
                 **({"name": target.name, "kind": target.kind} | detail))  # fmt: skip


def _shown(target: Target, names: Iterable[str]) -> dict[str, Any]:
    values = {name: getattr(target, name) for name in names}
    return {name: str(value) if name == "price" else value for name, value in values.items() if value not in ("", None)}
