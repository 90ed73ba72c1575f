"""Who asks a service for something: a person, whose rights are checked, or a command or the platform itself."""

from __future__ import annotations

from django.db.models import Model

from .access import Actor, check

Asker = Actor | str
"""A person as an Actor, or the name of a command or of a part of the platform, which may do everything."""


def allowed(asker: Asker, permission: str, obj: Model | None = None) -> str:
    """How the audit names the asker, once their right is checked. Raises `OutOfReach`, `Forbidden`."""
    if isinstance(asker, str):
        return asker
    check(asker, permission, obj)
    return asker.name
