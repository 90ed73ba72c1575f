"""The SQL side of the tenant scope: a query that narrows itself to the tenant in force when it is compiled.

Django turns every read into SQL through `Query.get_compiler` and every bulk write through `Query.chain` or a clone
with another class. Narrowing there, and not when a queryset is built, covers querysets that were made at import
time (forms, filters), sub-queries, unions, sliced querysets and aggregates alike.
"""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from django.db.models import ForeignKey, Model
from django.db.models.lookups import Exact, In
from django.db.models.sql import Query
from django.db.models.sql.where import AND

from .ambient import ScopeError, current_scope
from .columns import column_of
from .limits import narrow_to_groups


def tenant_path_of(model: type[Model]) -> list[str]:
    """The fields that lead from a model to its tenant: its `tenant_path`, "tenant" unless it says otherwise."""
    return str(getattr(model, "tenant_path", "tenant")).split("__")


class TenantQuery(Query):
    """A query that can only be run inside a scope."""

    def scoped(self) -> TenantQuery:
        """A clone that is narrowed to the tenant in force. Raises `ScopeError` when there is no scope."""
        tenant_id = current_scope().tenant_id
        clone = cast("TenantQuery", self.clone())
        # The parts of a union are queries of their own and narrow themselves.
        if tenant_id is not None and not clone.combinator:
            assert clone.model is not None
            _narrow(clone, clone.model, tenant_path_of(clone.model), tenant_id)
            narrow_to_groups(clone, clone.model, current_scope().groups)
        return clone

    def get_compiler(self, using: Any = None, connection: Any = None, elide_empty: bool = True) -> Any:
        return super(TenantQuery, self.scoped()).get_compiler(using, connection, elide_empty)

    def chain(self, klass: Any = None) -> Any:
        # UPDATE is compiled by a class of Django's that knows nothing of scopes, so it is narrowed before.
        foreign = klass is not None and not issubclass(klass, TenantQuery)
        return super(TenantQuery, self.scoped() if foreign else self).chain(klass)


def _narrow(query: Query, model: type[Model], path: list[str], tenant_id: UUID) -> None:
    """Add the tenant's condition to a query, as columns and sub-queries: a join could shadow an outer query's table.

    Columns are named directly and not by lookup strings, so that no annotation of the same name can take their place.
    """
    field = column_of(model, path[0])
    column = field.get_col(query.get_initial_alias(), field)
    if len(path) == 1:
        query.where.add(Exact(column, tenant_id), AND)
        return
    if not isinstance(field, ForeignKey):
        raise ScopeError(f"{model.__name__}.tenant_path must lead through foreign keys to the tenant.")
    target = field.related_model
    inner = Query(target)
    _narrow(inner, target, path[1:], tenant_id)
    inner.add_fields([field.target_field.name])
    query.where.add(In(column, inner), AND)
