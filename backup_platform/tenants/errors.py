"""What can be wrong with a tenant, its people and their rights. The texts are for people."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied
from django.http import Http404


class TenantRefused(ValueError):
    """A tenant cannot be made; the text says why."""


class TenantUnknown(LookupError):
    """No tenant has this name."""

    def __init__(self, name: str, known: list[str]) -> None:
        listed = f"There are: {', '.join(known)}." if known else "There is none yet: make one with create_tenant."
        super().__init__(f"There is no tenant named {name!r}. {listed}")


class Forbidden(PermissionDenied):
    """This person does not hold a permission; the text says which, in words."""

    def __init__(self, words: str) -> None:
        super().__init__(f"Your role does not include this: {words}. Ask an administrator of your tenant.")


class OutOfReach(Http404):
    """This person cannot see the object. Another tenant's and a missing one look alike."""

    def __init__(self) -> None:
        super().__init__("There is nothing here that you may see.")


class PlaceRefused(ValueError):
    """A person's place or a role cannot be changed like this; the text says why and what to do."""


class CodeRefused(ValueError):
    """A one-time password or recovery code was not taken; the text says what to do."""


class QuotaRefused(ValueError):
    """A quota cannot be set like this; the text says why and what to do."""


class QuotaUsedUp(Exception):
    """What was asked for would go beyond the tenant's quota; the text says what, why and what to do."""
