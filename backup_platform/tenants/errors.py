"""What can be wrong with a tenant. The texts are for operators."""

from __future__ import annotations


class TenantRefused(ValueError):
    """A tenant cannot be made; the text says why."""


class TenantUnknown(LookupError):
    """No tenant has this name."""

    def __init__(self, name: str, known: list[str]) -> None:
        listed = f"There are: {', '.join(known)}." if known else "There is none yet: make one with create_tenant."
        super().__init__(f"There is no tenant named {name!r}. {listed}")
