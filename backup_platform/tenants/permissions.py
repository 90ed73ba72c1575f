"""Permissions, what they mean in plain words, and the built-in roles as sets of them.

A permission is a string, so that custom roles are rows. Only the strings of this table mean anything: one that a row
holds and this table does not is no permission.
"""

from __future__ import annotations

from dataclasses import dataclass

from .models import Role


@dataclass(frozen=True)
class Permission:
    """One permission: its name, what it lets a person do, and the heading it stands under."""

    name: str
    words: str
    subject: str


_TABLE = (
    ("machines.view", "See machines, groups and whether they are online", "Machines"),
    ("machines.manage", "Approve, revoke and decommission machines; change groups and tags", "Machines"),
    ("enrollment.view", "See which enrolments are open and who made them", "Machines"),
    ("enrollment.create", "Make and withdraw enrolments for new machines", "Machines"),
    ("policies.view", "See policies, schedules and what applies where", "Policies"),
    ("policies.edit", "Make, change, assign and pause policies", "Policies"),
    ("jobs.view", "See jobs, their progress and their logs", "Jobs"),
    ("jobs.run", "Run backups now, cancel, retry, pause machines", "Jobs"),
    ("restores.request", "Ask a machine to restore one of its snapshots", "Snapshots"),
    ("snapshots.view", "See snapshots and running backups (sizes and times, never contents)", "Snapshots"),
    ("snapshots.manage", "Expire snapshots before their time, and bring expired ones back", "Snapshots"),
    ("packs.view", "See the packs that data is stored in", "Snapshots"),
    ("targets.view", "See targets, tier rules, copies, scrub and what storage costs", "Storage"),
    ("targets.manage", "Add, change, drain and retire targets; change tier rules; pause reclaim", "Storage"),
    ("holds.view", "See legal holds and what they cover", "Storage"),
    ("holds.manage", "Set legal holds; ask for their release, or agree to it", "Storage"),
    ("notifications.view", "See alerts, channels and deliveries", "Notifications"),
    ("notifications.manage", "Acknowledge alerts; change channels and thresholds", "Notifications"),
    ("members.view", "See who belongs to this tenant, and the roles", "People and records"),
    ("members.manage", "Add, change and remove members and roles, within one's own rights", "People and records"),
    ("audit.view", "Read the audit", "People and records"),
    ("tenant.manage", "Change this tenant's own settings, such as asking for a second factor", "People and records"),
)
PERMISSIONS: dict[str, Permission] = {name: Permission(name, words, subject) for name, words, subject in _TABLE}
ALL = frozenset(PERMISSIONS)
_VIEWS = frozenset(name for name in PERMISSIONS if name.endswith(".view"))
_SEEN_BY_EVERYONE = frozenset({"machines.view", "policies.view", "jobs.view", "snapshots.view", "notifications.view"})
_ABOVE_OPERATORS = frozenset(
    {
        "members.view",
        "members.manage",
        "audit.view",
        "tenant.manage",
        "targets.manage",
        "holds.manage",
        "snapshots.manage",
    }
)

BUILT_IN: dict[Role, frozenset[str]] = {
    Role.ADMIN: ALL,
    Role.OPERATOR: ALL - _ABOVE_OPERATORS,
    Role.RESTORE_OPERATOR: _SEEN_BY_EVERYONE | {"restores.request"},
    Role.AUDITOR: _VIEWS,
    Role.VIEWER: _SEEN_BY_EVERYONE,
}


def known(names: object) -> frozenset[str]:
    """Those of a row's permissions that exist; anything else in there means nothing."""
    return frozenset(name for name in names if isinstance(name, str)) & ALL if isinstance(names, list) else frozenset()
