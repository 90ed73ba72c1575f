"""The SQL side of a limit to machine groups: conditions that leave only what belongs to the machines of some groups.

They are added where the tenant's condition is (scoped_query.py), so every door is limited alike: lists, details,
choices of foreign keys, counts. Which model is narrowed in which way stands in rules.py.
"""

from __future__ import annotations

from uuid import UUID

from django.apps import apps
from django.db.models import ForeignKey, Model
from django.db.models.lookups import In
from django.db.models.sql import Query
from django.db.models.sql.where import AND

from .columns import column_of
from .rules import GROUP_PATHS, MACHINE_PATHS, REVERSE_PATHS


def narrow_to_groups(query: Query, model: type[Model], groups: frozenset[UUID] | None) -> None:
    """Narrow a query over `model` to what belongs to machines of `groups`; None narrows nothing.

    Models that belong to no machine stay as they are: whether a limited member may see those is `access.may`'s answer.
    """
    label = model._meta.label
    if groups is None:
        return
    if label in GROUP_PATHS:
        column = column_of(model, GROUP_PATHS[label])
        query.where.add(In(column.get_col(query.get_initial_alias(), column), sorted(groups)), AND)
    elif label in MACHINE_PATHS:
        _narrow(query, model, MACHINE_PATHS[label].split("__"), groups)
    elif label in REVERSE_PATHS:
        _narrow_by_those_that_name_it(query, model, REVERSE_PATHS[label], groups)


def _narrow(query: Query, model: type[Model], path: list[str], groups: frozenset[UUID]) -> None:
    column = column_of(model, path[0])
    if len(path) == 1:
        inner = _machines_of(groups)
    else:
        assert isinstance(column, ForeignKey)
        inner = Query(column.related_model)
        _narrow(inner, column.related_model, path[1:], groups)
        inner.set_values([column.target_field.name])
    query.where.add(In(column.get_col(query.get_initial_alias(), column), inner), AND)


def _narrow_by_those_that_name_it(
    query: Query, model: type[Model], way: tuple[str, str], groups: frozenset[UUID]
) -> None:
    """Rows that a visible row of another model points to: policies by their plans."""
    other = apps.get_model(way[0])
    inner = Query(other)
    _narrow(inner, other, MACHINE_PATHS[way[0]].split("__"), groups)
    inner.set_values([way[1]])
    key = column_of(model, "pk")
    query.where.add(In(key.get_col(query.get_initial_alias(), key), inner), AND)


def _machines_of(groups: frozenset[UUID]) -> Query:
    membership = apps.get_model("fleet", "GroupMembership")
    inner = Query(membership)
    group = column_of(membership, "group")
    inner.where.add(In(group.get_col(inner.get_initial_alias(), group), sorted(groups)), AND)
    inner.set_values(["machine"])
    return inner
