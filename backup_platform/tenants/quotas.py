"""A tenant's quotas: who sets them, how much of them is used, and that no machine is added beyond them.

What is refused when the quota of stored data is used up stands in room.py, how it is counted in stored.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.apps import apps
from django.db import transaction

from backup_platform.audit.services import record as record_audit

from .access import Actor
from .errors import Forbidden, QuotaRefused, QuotaUsedUp
from .models import Tenant
from .scope import tenant_scope, whole_tenant
from .stored import stored_of

NEARLY_FULL = 0.90
"""From this part of a quota on people are told."""
SMALLEST, LARGEST = 2**20, 2**60
"""A mebibyte, an exbibyte: what is smaller or larger was mistyped."""
MOST_MACHINES = 1_000_000


@dataclass(frozen=True, slots=True)
class Usage:
    """What a tenant uses, and its quotas: bytes of sealed packs, enrolled machines. None: no quota."""

    stored_bytes: int
    quota_bytes: int | None
    machines: int
    quota_machines: int | None

    @property
    def share(self) -> float | None:
        """The part of the quota of stored data that is used; None without one."""
        return None if self.quota_bytes is None else self.stored_bytes / self.quota_bytes

    @property
    def full(self) -> bool:
        """Whether no new backup may begin."""
        return self.share is not None and self.share >= 1

    @property
    def nearly_full(self) -> bool:
        """Whether people are told of it."""
        return self.share is not None and self.share >= NEARLY_FULL


def usage_of(tenant: Tenant) -> Usage:
    """What the tenant uses now, whole: who is limited to machine groups is not to be shown it."""
    stored = stored_of(tenant.pk)
    with tenant_scope(tenant), whole_tenant("what a tenant uses is counted over all of it"):
        machines = _counted_machines().count()
    return Usage(stored.bytes, stored.quota, machines, tenant.quota_machines)


def set_quotas(by: Actor, tenant: Tenant, *, quota_bytes: int | None, quota_machines: int | None) -> None:
    """Set both quotas (None: none), audited with before and after. Less than is used already may be set as well.

    Only the platform's superusers may: raises `Forbidden`; `QuotaRefused` for figures that are none.
    """
    if not (by.is_platform_staff and by.user.is_superuser):
        raise Forbidden("set a tenant's quotas, which is the platform's business")
    after = {"quota_bytes": quota_bytes, "quota_machines": quota_machines}
    _check(quota_bytes, quota_machines)
    with tenant_scope(tenant), transaction.atomic():
        row = Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)
        before = {name: getattr(row, name) for name in after}
        if before == after:
            return
        Tenant.objects.filter(pk=tenant.pk).update(**after)
        record_audit(
            "tenant.quota_set", actor=by.name, object=f"tenant:{tenant.pk}", tenant=tenant, before=before, after=after
        )


def check_room_for_machine(tenant_id: UUID) -> None:
    """Refuse one more machine than the tenant may have; in the transaction that adds it. Raises `QuotaUsedUp`.

    Of two machines that come at once for the last place one gets it: the tenant's row is held until the end.
    """
    with tenant_scope(tenant_id), whole_tenant("a tenant's machines are counted, not those of some groups"):
        quota = Tenant.objects.values_list("quota_machines", flat=True).get(pk=tenant_id)
        if quota is None:
            return
        Tenant.objects.select_for_update(no_key=True).get(pk=tenant_id)
        if _counted_machines().count() < quota:
            return
    raise QuotaUsedUp(
        f"This tenant may have {_some(quota)} and has as many. Decommission or revoke one that is not there any"
        " more, or ask the operator of the platform for a larger quota."
    )


def _counted_machines() -> Any:
    """Machines that are here or wait for approval; who was revoked or decommissioned takes no place."""
    return apps.get_model("fleet", "Machine").objects.filter(state__in=("active", "pending"))


def _some(machines: int) -> str:
    return "1 machine" if machines == 1 else f"{machines:,} machines"


def _check(quota_bytes: int | None, quota_machines: int | None) -> None:
    if quota_bytes is not None and not SMALLEST <= quota_bytes <= LARGEST:
        raise QuotaRefused("A quota of stored data is 1 MiB at least and 1 EiB at most. Leave it empty for none.")
    if quota_machines is not None and not 0 <= quota_machines <= MOST_MACHINES:
        raise QuotaRefused(f"A quota of machines is 0 to {MOST_MACHINES:,}. Leave it empty for none.")
