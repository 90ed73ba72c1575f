"""Telling people that a tenant's own rules protect less than before. The change counts at once, and is no secret."""

from __future__ import annotations

from backup_platform.notifications.services import raise_alert
from backup_platform.notifications.words import AlertKind, Level
from backup_platform.tenants.models import Tenant

from .defaults import Delays

ADVICE = (
    "Ask whether that was meant. If not: write the former values again under Expiry delays, and look at what else the "
    "same account did (the audit)."
)


def tell_of_weaker(tenant: Tenant, before: Delays, after: Delays, actor: str) -> None:
    """Raise an alert, in the transaction in force, if any of a tenant's rules protects less than before."""
    weaker = weakened(before, after)
    if weaker:
        raise_alert(
            tenant.pk, AlertKind.OTHER, f"tenant:{tenant.pk}", Level.WARNING,
            f"{actor} has weakened what protects snapshots: {'; '.join(weaker)}.", ADVICE, f"weaker-rules:{tenant.pk}",
        )  # fmt: skip


def weakened(before: Delays, after: Delays) -> list[str]:
    """What protects less, in words."""
    found = []
    if after.undelete < before.undelete:
        found.append(f"expired ones can be brought back for {after.undelete.days} days, not {before.undelete.days}")
    if after.shrink < before.shrink:
        found.append(f"shorter rules take effect after {after.shrink.days} days, not {before.shrink.days}")
    if after.guard_percent > before.guard_percent:
        found.append(f"a run stops when over {after.guard_percent} % would go, not {before.guard_percent} %")
    if before.release_needs_second and not after.release_needs_second:
        found.append("one person alone releases holds that are set from now on")
    return found
