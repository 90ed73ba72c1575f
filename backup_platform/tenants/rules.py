"""Which permission an action on a model needs, and how far members that are limited to machine groups see.

A model and an action that stand nowhere here are refused. Nobody adds what only an agent or a worker makes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

Action = Literal["view", "add", "change", "delete"]
WRITES: tuple[Action, ...] = ("add", "change", "delete")

MEMBERSHIP = ""
"""No permission but belonging to the tenant at all."""

RULES: dict[tuple[str, Action], frozenset[str]] = {}
"""Any one of these permissions is enough."""


def _rule(models: Iterable[str], actions: Iterable[Action], *permissions: str) -> None:
    for model in models:
        for action in actions:
            RULES[model, action] = frozenset(permissions)


_rule(["tenants.Tenant"], ["view"], MEMBERSHIP)
_rule(["tenants.Tenant"], ["change"], "tenant.manage")
_rule(["tenants.Member", "tenants.CustomRole"], ["view"], "members.view")
_rule(["tenants.Member", "tenants.CustomRole"], WRITES, "members.manage")
_rule(["audit.Entry"], ["view"], "audit.view")
_rule(["fleet.Machine", "fleet.MachineGroup", "fleet.GroupMembership"], ["view"], "machines.view")
_rule(["fleet.Machine"], ["change"], "machines.manage")
_rule(["fleet.MachineGroup", "fleet.GroupMembership"], WRITES, "machines.manage")
_rule(["fleet.EnrollmentToken"], ["view"], "enrollment.view", "enrollment.create")
_rule(["fleet.EnrollmentToken"], ["add", "change"], "enrollment.create")
_rule(["vaults.Vault"], ["view"], "machines.view", "snapshots.view")
_rule(["catalog.Snapshot", "catalog.Session"], ["view"], "snapshots.view")
_rule(["catalog.Pack"], ["view"], "packs.view")
_rule(["targets.Target"], ["view"], "targets.view")
_rule(["targets.Target"], WRITES, "targets.manage")
_rule(["tiering.TierRule", "catalog.Copy", "catalog.SnapshotCopy"], ["view"], "targets.view")
_rule(["tiering.TierRule"], WRITES, "targets.manage")
_rule(["policies.Policy", "policies.Assignment", "policies.Plan"], ["view"], "policies.view")
_rule(["policies.Policy", "policies.Assignment"], WRITES, "policies.edit")
_rule(["jobs.Job", "jobs.JobLine"], ["view"], "jobs.view")
_rule(["jobs.Job"], ["add", "change"], "jobs.run")
_rule(["jobs.JobLimits"], ["view"], "machines.view", "tenant.manage")
_rule(["jobs.JobLimits"], WRITES, "tenant.manage")
_rule(["upkeep.ScrubFinding", "upkeep.ReclaimRound"], ["view"], "targets.view")
_rule(["upkeep.ReclaimRound"], ["change"], "targets.manage")
_rule(["retention.Hold"], ["view"], "holds.view")
_rule(["retention.Hold"], ["add", "change"], "holds.manage")
_rule(["retention.Expiry", "retention.ExpiryStop"], ["view"], "snapshots.view")
_rule(["retention.Expiry", "retention.ExpiryStop"], ["change"], "snapshots.manage")
_rule(["retention.RetentionRules"], ["view"], "policies.view", "tenant.manage")
_rule(["retention.RetentionRules"], ["add", "change"], "tenant.manage")
_NOTIFICATIONS = [f"notifications.{name}" for name in ("Alert", "Channel", "Snooze", "Delivery", "WatchRules")]
_rule(_NOTIFICATIONS, ["view"], "notifications.view")
_rule(["notifications.Alert", "notifications.Delivery"], ["change"], "notifications.manage")
_rule(["notifications.Channel", "notifications.Snooze", "notifications.WatchRules"], WRITES, "notifications.manage")

# How a limited member's rows are found: the way from a model to its machine. Such members see what belongs to the
# machines of their groups, and may act there.
MACHINE_PATHS: dict[str, str] = {
    "fleet.Machine": "pk",
    "fleet.GroupMembership": "machine",
    "catalog.Snapshot": "machine",
    "catalog.Session": "machine",
    "jobs.Job": "machine",
    "jobs.JobLine": "job__machine",
    "policies.Plan": "machine",
    "retention.Expiry": "snapshot__machine",
    "retention.ExpiryStop": "machine",
    "notifications.Alert": "machine",
}
# The same by group, and by rows of another model that point here: a policy is theirs to see where it has a plan.
GROUP_PATHS: dict[str, str] = {"fleet.MachineGroup": "pk", "fleet.EnrollmentToken": "group"}
REVERSE_PATHS: dict[str, tuple[str, str]] = {"policies.Policy": ("policies.Plan", "policy")}
# What such members need to see whole to understand the rest. All other models are closed to them: a model that is
# forgotten here shows nothing.
SEEN_WHOLE = frozenset({"tenants.Tenant", "vaults.Vault"})
LIMITED_WRITES = frozenset({"fleet.Machine", "fleet.EnrollmentToken", "jobs.Job", "notifications.Alert"})
"""What they may change: their machines and what these do. Policies, groups and people reach beyond."""


def open_to_limited(model: str, action: Action) -> bool:
    """Whether members that are limited to machine groups may do this to (their) rows of a model at all."""
    if action == "view":
        return model in MACHINE_PATHS or model in GROUP_PATHS or model in REVERSE_PATHS or model in SEEN_WHOLE
    return model in LIMITED_WRITES
