"""What changes tier rules and targets' lives: each checks, writes and leaves an audit line in one transaction."""

from __future__ import annotations

from django.db import IntegrityError, transaction
from django.utils import timezone

from backup_platform.audit.services import record as record_audit
from backup_platform.targets.models import Target, TargetState
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.tiering.asking import ask_target
from backup_platform.tiering.errors import TieringRefused
from backup_platform.tiering.models import TierRule
from backup_platform.tiering.rules import may_hold

WHY = "a shared target belongs to no tenant"


def save_rule(rule: TierRule, by: str) -> None:
    """Store a rule that is new or was changed. TieringRefused with a sentence when it cannot be like this."""
    _check(rule)
    try:
        with transaction.atomic():
            rule.created_by = rule.created_by or by[:200]
            rule.save()
            record_audit(
                "tier_rule.set", actor=by, object=f"tier_rule:{rule.pk}", tenant=rule.tenant_id,
                target=str(rule.target_id), copy=rule.copy_when, evict=rule.evict_when, copies=rule.min_copies,
                paused=rule.paused_at is not None,
            )  # fmt: skip
    except IntegrityError:
        raise TieringRefused("There is a rule for this target already. Change that one.") from None


def remove_rule(rule: TierRule, by: str) -> None:
    """Take a rule away: nothing more is copied by it. Copies that are there stay and are read."""
    with transaction.atomic():
        record_audit("tier_rule.removed", actor=by, object=f"tier_rule:{rule.pk}", tenant=rule.tenant_id,
                     target=str(rule.target_id))  # fmt: skip
        rule.delete()


def pause_rule(rule: TierRule, by: str, *, paused: bool) -> None:
    """Stop a rule for a while, or let it go on."""
    rule.paused_at = timezone.now() if paused else None
    save_rule(rule, by)


def start_drain(target: Target, by: str) -> None:
    """Have a target emptied: what lies only there is copied elsewhere first, then its copies leave; then it retires."""
    if target.home:
        raise TieringRefused("The home directory cannot be drained: every pack comes there first.")
    with transaction.atomic(), without_tenant_scope(WHY):
        usable = Target.objects.filter(pk=target.pk, state__in=[TargetState.ACTIVE, TargetState.PAUSED])
        if not usable.update(state=TargetState.DRAINING):
            raise TieringRefused("Only a target that is active or paused can be drained.")
        record_audit("target.draining", actor=by, object=f"target:{target.pk}", tenant=target.tenant_id,
                     name=target.name)  # fmt: skip
        ask_target(target)
    target.state = TargetState.DRAINING


def replace_target(old: Target, new: Target, by: str) -> int:
    """Let a new target take an old one's place: the rules go over to it, and the old one is drained; rules moved.

    A rule that the new target has already stays, and the old target's goes.
    """
    if new.home or new.state != TargetState.ACTIVE or new.pk == old.pk:
        raise TieringRefused("Choose another target that is active, and not the home directory.")
    if old.tenant_id is None and new.tenant_id is not None:
        raise TieringRefused(
            "A shared target can only be replaced by a shared one: packs of every tenant may lie there."
        )
    if new.tenant_id is not None and new.tenant_id != old.tenant_id:
        raise TieringRefused("A target cannot be replaced by another tenant's.")
    moved = 0
    with transaction.atomic(), without_tenant_scope(WHY):
        for rule in TierRule.objects.filter(target=old.pk):
            if TierRule.objects.filter(target=new.pk, tenant=rule.tenant_id).exists():
                remove_rule(rule, by)
                continue
            rule.target = new
            save_rule(rule, by)
            moved += 1
        start_drain(old, by)
    return moved


def _check(rule: TierRule) -> None:
    target = rule.target
    if target.home:
        raise TieringRefused("Every pack comes to the home directory by itself. Choose another target.")
    if rule.tenant_id is None and target.tenant_id is not None:
        raise TieringRefused("A rule for every tenant needs a shared target.")
    if rule.tenant_id is not None and not may_hold(target, rule.tenant_id):
        raise TieringRefused("There is no such target.")
    if target.state in (TargetState.DRAINING, TargetState.RETIRED):
        raise TieringRefused("This target is being drained, or was retired. Choose one that is active.")
