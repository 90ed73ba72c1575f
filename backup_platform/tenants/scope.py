"""The tenant scope: no row of a tenant is read or written before somebody has said whose data this is about.

A model of a tenant declares

    tenant_path = "tenant"          # or the way there: "vault__tenant"; "pk" for the tenant itself
    objects = TenantManager()
    class Meta: base_manager_name = "objects"

and is used inside `tenant_scope(tenant)`, or, where work really spans tenants, `without_tenant_scope("why")`.
Raw SQL (`connection.cursor()`) is outside this wall: it carries its own tenant or vault condition, always.
"""

from .ambient import ScopeError, current_tenant_id, has_scope, tenant_scope, whole_tenant, without_tenant_scope
from .querysets import TenantManager, TenantQuerySet, check_belongs, tenant_id_of_object
from .scoped_query import tenant_path_of

__all__ = [
    "ScopeError",
    "TenantManager",
    "TenantQuerySet",
    "check_belongs",
    "current_tenant_id",
    "has_scope",
    "tenant_id_of_object",
    "tenant_path_of",
    "tenant_scope",
    "whole_tenant",
    "without_tenant_scope",
]
