"""How the console looks and what its sidebar offers. Everything is served by the platform itself."""

from __future__ import annotations

from typing import Any

from django.templatetags.static import static
from django.urls import reverse_lazy

# Teal, dark enough at 600 for white text (contrast above 5:1).
PRIMARY = {
    "50": "oklch(98.4% .014 180.7)",
    "100": "oklch(95.3% .051 180.8)",
    "200": "oklch(91% .096 180.4)",
    "300": "oklch(85.5% .138 181)",
    "400": "oklch(77.7% .152 181.9)",
    "500": "oklch(66% .13 182.5)",
    "600": "oklch(52% .1 186)",
    "700": "oklch(45% .085 187)",
    "800": "oklch(40% .07 188.2)",
    "900": "oklch(35% .06 188.4)",
    "950": "oklch(27% .046 192.5)",
}


def _item(title: str, icon: str, model: str, *, action: str = "view", platform: bool = False) -> dict[str, Any]:
    app, name = model.lower().split(".")
    permission = "platform_only" if platform else f"may_{action}_{app}_{name}"
    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{app}_{name}_changelist"),
        "permission": f"backup_platform.console.navigation.{permission}",
    }


NAVIGATION = [
    {
        "items": [
            {"title": "Dashboard", "icon": "space_dashboard", "link": reverse_lazy("admin:index")},
            {
                "title": "Choose tenant",
                "icon": "swap_horiz",
                "link": reverse_lazy("console:tenant"),
                "permission": "backup_platform.console.navigation.may_choose_tenant",
            },
        ]
    },
    {
        "title": "Backups",
        "separator": True,
        "items": [
            _item("Machines", "computer", "fleet.Machine"),
            _item("Groups", "workspaces", "fleet.MachineGroup"),
            _item("Policies", "rule_settings", "policies.Policy"),
            _item("Snapshots", "photo_camera", "catalog.Snapshot"),
            _item("Running backups", "cloud_upload", "catalog.Session"),
            _item("Jobs", "checklist", "jobs.Job"),
            _item("Job limits", "speed", "jobs.JobLimits"),
        ],
    },
    {
        "title": "Alerts",
        "separator": True,
        "items": [
            _item("Alerts", "notifications", "notifications.Alert"),
            _item("Channels", "campaign", "notifications.Channel"),
            _item("Deliveries", "outgoing_mail", "notifications.Delivery"),
            _item("Snoozes", "snooze", "notifications.Snooze"),
            _item("Thresholds", "tune", "notifications.WatchRules"),
        ],
    },
    {
        "title": "Keys and storage",
        "separator": True,
        "items": [
            _item("Vaults", "lock", "vaults.Vault"),
            _item("Enrolments", "key", "fleet.EnrollmentToken"),
            _item("Packs", "inventory_2", "catalog.Pack"),
        ],
    },
    {
        "title": "Storage",
        "separator": True,
        "items": [
            _item("Targets", "database", "targets.Target"),
            _item("Tier rules", "low_priority", "tiering.TierRule"),
            _item("Copies", "file_copy", "catalog.Copy"),
            _item("Snapshots at targets", "cloud_done", "catalog.SnapshotCopy"),
            _item("Holds", "gavel", "retention.Hold"),
            _item("Expired snapshots", "auto_delete", "retention.Expiry"),
            _item("Stopped expiries", "front_hand", "retention.ExpiryStop"),
            _item("Expiry delays", "hourglass", "retention.RetentionRules"),
            _item("Scrub", "health_and_safety", "upkeep.ScrubFinding"),
            _item("Reclaim", "recycling", "upkeep.ReclaimRound"),
        ],
    },
    {
        "title": "People and records",
        "separator": True,
        "items": [
            _item("Members", "group", "tenants.Member"),
            _item("Roles", "badge", "tenants.CustomRole"),
            _item("Audit", "receipt_long", "audit.Entry"),
            _item("Settings", "settings", "tenants.Tenant", action="change"),
        ],
    },
    {
        "title": "Platform",
        "separator": True,
        "items": [
            _item("Tenants", "apartment", "tenants.Tenant", platform=True),
            _item("Users", "person", "tenants.User", platform=True),
            _item("Ticks", "schedule", "django_celery_beat.PeriodicTask", platform=True),
            _item("Scrub calendar", "event_repeat", "upkeep.ScrubSettings", platform=True),
        ],
    },
]

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Strongroom",
    "SITE_HEADER": "Strongroom",
    "SITE_SYMBOL": "lock",
    "SITE_URL": None,
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("console/favicon.svg")},
    ],
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "SHOW_BACK_BUTTON": True,
    "ENVIRONMENT": "backup_platform.console.navigation.scope_badge",
    "DASHBOARD_CALLBACK": "backup_platform.console.dashboard.fill_dashboard",
    "STYLES": [
        lambda request: static("console/console.css"),
        lambda request: static("notifications/notifications.css"),
    ],
    "ACCOUNT": {"navigation": [{"title": "Second factor", "link": reverse_lazy("console:factor")}]},
    "LOGIN": {"form": "backup_platform.console.forms.SignInForm"},
    "BORDER_RADIUS": "8px",
    "COLORS": {"primary": PRIMARY},
    "SIDEBAR": {"show_search": False, "show_all_applications": False, "navigation": NAVIGATION},
}
