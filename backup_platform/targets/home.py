"""The home directory's row: the target that every installation has, made at first use."""

from __future__ import annotations

from backup_platform.targets.models import Target, TargetKind
from backup_platform.tenants.scope import without_tenant_scope

HOME_NAME = "This server"


def home_target() -> Target:
    """The row of the home directory (`home=True`), made if it is not there; two callers at once get the same one."""
    with without_tenant_scope("the home directory belongs to no tenant"):
        made = {"name": HOME_NAME, "kind": TargetKind.LOCAL, "created_by": "the platform"}
        return Target.objects.get_or_create(home=True, defaults=made)[0]
