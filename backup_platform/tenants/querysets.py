"""Managers whose every read and write stays inside the tenant scope.

Use `objects = TenantManager()` and `Meta.base_manager_name = "objects"`: Django follows foreign keys, refreshes
objects and collects what a deletion takes along through the base manager, which must fail closed as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar
from uuid import UUID

from django.core.exceptions import ObjectDoesNotExist
from django.db.models import Manager, Model, QuerySet
from django.db.models.signals import pre_delete, pre_save

from .ambient import ScopeError, current_scope
from .columns import column_of
from .scoped_query import TenantQuery, tenant_path_of

M_co = TypeVar("M_co", bound=Model, covariant=True)


def tenant_id_of_object(instance: Any) -> UUID | None:
    """The tenant that an object says it belongs to, following `tenant_path`; None for the platform's own rows."""
    *steps, last = tenant_path_of(type(instance))
    for step in steps:
        instance = getattr(instance, step)
        if instance is None:
            return None
    value = getattr(instance, column_of(type(instance), last).attname)
    return value if value is None or isinstance(value, UUID) else UUID(str(value))


def check_belongs(instance: Model) -> None:
    """Raise `ScopeError` unless the scope in force may write this object."""
    scope = current_scope()
    if scope.tenant_id is None:
        return
    try:
        owner = tenant_id_of_object(instance)
    except ObjectDoesNotExist:
        owner = None  # its parent is out of sight, so it is another tenant's
    if owner != scope.tenant_id:
        raise ScopeError(f"A {type(instance).__name__} of another tenant cannot be written in this tenant's scope.")


class TenantQuerySet(QuerySet[M_co]):
    """A queryset that raises `ScopeError` when it is evaluated in no scope, and is narrowed in a tenant's scope."""

    def __init__(self, model: Any = None, query: Any = None, using: Any = None, hints: Any = None) -> None:
        super().__init__(model, query or TenantQuery(model), using, hints)

    def raw(self, *args: Any, **kwargs: Any) -> Any:
        """SQL by hand cannot be narrowed, so it needs `without_tenant_scope` and its own tenant condition."""
        if current_scope().tenant_id is not None:
            raise ScopeError("Raw SQL cannot be narrowed to a tenant: use it inside without_tenant_scope(reason).")
        return super().raw(*args, **kwargs)

    def update(self, **values: Any) -> int:
        self._refuse_move(values)
        return super().update(**values)

    def bulk_create(self, objs: Iterable[Any], *args: Any, **kwargs: Any) -> Any:
        """Every object must be the tenant's; an upsert could overwrite a row that is out of sight, so it is refused."""
        objects = list(objs)
        scope = current_scope()
        for instance in objects:
            check_belongs(instance)
        if kwargs.get("update_conflicts") and scope.tenant_id is not None:
            raise ScopeError("An upsert could overwrite another tenant's row: use without_tenant_scope(reason).")
        return super().bulk_create(objects, *args, **kwargs)

    def bulk_update(self, objs: Iterable[Any], fields: Iterable[str], *args: Any, **kwargs: Any) -> int:
        names = list(fields)
        if current_scope().tenant_id is not None and self._owner_names() & set(names):
            raise ScopeError("Rows cannot be given to another tenant inside a tenant's scope.")
        return super().bulk_update(objs, names, *args, **kwargs)

    def _raw_delete(self, using: Any) -> Any:
        narrowed: Any = self._chain()  # type: ignore[attr-defined]
        narrowed.query = narrowed.query.scoped()
        return super(TenantQuerySet, narrowed)._raw_delete(using)

    def _owner_names(self) -> set[str]:
        field = column_of(self.model, tenant_path_of(self.model)[0])
        return {"pk", field.name, field.attname} if field.primary_key else {field.name, field.attname}

    def _refuse_move(self, values: dict[str, Any]) -> None:
        scope = current_scope()
        for name in self._owner_names() & set(values):
            # A row may be "given" to the tenant that has it already; any other first step of the path is a move.
            direct = len(tenant_path_of(self.model)) == 1
            value = getattr(values[name], "pk", values[name])
            if scope.tenant_id is not None and not (direct and str(value) == str(scope.tenant_id)):
                raise ScopeError("Rows cannot be given to another tenant inside a tenant's scope.")


_ManagerOfTenants = Manager.from_queryset(TenantQuerySet)  # a name of its own, or every result is untyped


class TenantManager(_ManagerOfTenants[M_co]):
    """The default and base manager of everything that belongs to a tenant."""

    use_in_migrations = False

    def contribute_to_class(self, cls: Any, name: str) -> None:
        super().contribute_to_class(cls, name)
        if not cls._meta.abstract:
            uid = f"strongroom-tenant-{cls._meta.label}"
            pre_save.connect(_guard, sender=cls, dispatch_uid=f"{uid}-save")
            pre_delete.connect(_guard, sender=cls, dispatch_uid=f"{uid}-delete")


def _guard(sender: Any, instance: Model, **_: Any) -> None:
    check_belongs(instance)
