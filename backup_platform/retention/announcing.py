"""What a change of a policy means for retention, in one sentence, as soon as it was saved."""

from __future__ import annotations

from django.utils import timezone

from backup_platform.policies.models import Policy
from backup_platform.tenants.scope import tenant_scope, whole_tenant

from .following import follow_policies
from .queries import announced_for
from .rules import PREFIX


def announcement(policy: Policy) -> str:
    """When shorter rules of a policy take effect, now that it was saved; empty when nothing is announced."""
    with tenant_scope(policy.tenant_id), whole_tenant("what is in force is decided over the whole tenant"):
        follow_policies(policy.tenant_id, timezone.now())
        at, machines = announced_for(policy.tenant_id, policy.pk)
    if at is None:
        return ""
    where = "one machine" if machines == 1 else f"{machines:,} machines"
    return f"It keeps less than before on {where}: that takes effect at {at:%Y-%m-%d %H:%M} UTC."


def concerns_retention(policy: Policy) -> bool:
    """Whether a policy says anything about retention itself."""
    return any(str(name).startswith(PREFIX) for name in policy.settings)
