"""What is refused when a tenant's quota of stored data is used up, and what always goes on.

Refused is only what adds data: first new backup sessions, then, a twentieth of the quota further, new packs of the
sessions under way. Committing what has arrived, restoring, expiring, reclaiming, verifying and moving packs never ask
here. A machine that is asked for damaged or lost chunks may send them: what heals is let in whatever is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.apps import apps
from django.utils import timezone

from backup_platform.console.showing import size

from .errors import QuotaUsedUp
from .scope import tenant_scope
from .stored import Stored, stored_of

OVERRUN = 20
"""Sessions under way may use a twentieth of the quota more: a backup that is nearly through ends well. Each may fill
up the pack that it has open as well (64 MiB)."""
HEALING_OVERRUN = 10
"""A machine that is to heal chunks has new data too, which comes in between: a tenth."""
UNDER_WAY = timedelta(minutes=15)
"""A session that was heard of within this is under way: an agent tries for as long to come back to it."""
RETRY_SECONDS = 3600.0
"""When an agent may look again: longer than any waits by itself, so that it ends and says why."""
ADVICE = (
    "Nothing stored is lost, and restoring works. Let old snapshots expire, or ask the operator of the platform for a"
    " larger quota."
)


def check_begin(tenant_id: UUID, machine_id: UUID) -> None:
    """Refuse a new backup session of a tenant whose quota is used up. Raises `QuotaUsedUp`.

    Not refused: going on with a session under way, be it only to commit it; and machines that are asked for chunks.
    """
    with tenant_scope(tenant_id):
        stored = stored_of(tenant_id)
        if not stored.full or _is_under_way(machine_id) or _wanted(machine_id).exists():
            return
    raise QuotaUsedUp(f"{_used_up(stored)} No new backup begins until there is room. {ADVICE}")


def check_pack(tenant_id: UUID, machine_id: UUID, ids: Sequence[bytes]) -> bool:
    """Whether a session under way may begin a pack whose first records have these ids: True for anything in it, False
    for nothing but chunks that the machine is asked for. Raises `QuotaUsedUp` when it may not.
    """
    with tenant_scope(tenant_id):
        stored = stored_of(tenant_id)
        if stored.quota is None or stored.over <= stored.quota // OVERRUN:
            return True
        wanted, asked = _wanted(machine_id), set(ids)
        if stored.over <= stored.quota // HEALING_OVERRUN and wanted.exists():
            return True
        if wanted.filter(chunk_id__in=asked).count() == len(asked):
            return False
    raise QuotaUsedUp(
        f"{_used_up(stored)} This backup is not complete and cannot go on now; what arrived is kept, and a later one"
        f" goes on from it. {ADVICE}"
    )


def _used_up(stored: Stored) -> str:
    return f"The tenant's quota of stored data is used up: {size(stored.bytes)} of {size(stored.quota)}."


def _is_under_way(machine_id: UUID) -> bool:
    sessions: Any = apps.get_model("catalog", "Session").objects
    lately = timezone.now() - UNDER_WAY
    return bool(sessions.filter(machine_id=machine_id, state="open", last_seen_at__gt=lately).exists())


def _wanted(machine_id: UUID) -> Any:
    """The chunks that the machine is asked for."""
    return apps.get_model("catalog", "Wanted").objects.filter(machine_id=machine_id)
