"""django-allauth's tables for second factors, without its own sign-in (docs/decisions/0101).

Its account app demands a middleware and pages that would be a second way in beside the admin's sign-in; we use its
models, one-time passwords and recovery codes, and none of its views.
"""

from __future__ import annotations

from allauth.account.apps import AccountConfig
from allauth.mfa.apps import MFAConfig


class AccountTables(AccountConfig):
    """Needed by the next: its modules import these models. Nothing is kept in them."""

    default_auto_field = "django.db.models.AutoField"

    def ready(self) -> None:
        """Demand no middleware and connect nothing."""


class SecondFactorTables(MFAConfig):
    """The table of authenticators."""

    def ready(self) -> None:
        """Connect nothing: the checks and signals are about allauth's own pages."""
