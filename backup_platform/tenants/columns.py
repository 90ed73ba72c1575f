"""Columns of a model by name, for conditions that are added to a query as they stand."""

from __future__ import annotations

from typing import Any

from django.db.models import Field, Model


def column_of(model: type[Model], name: str) -> Field[Any, Any]:
    """The model's field of that name; "pk" is its primary key."""
    field = model._meta.pk if name == "pk" else model._meta.get_field(name)
    assert isinstance(field, Field), f"{model.__name__}.{name} is no column"
    return field
