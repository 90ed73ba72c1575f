"""What can be wrong with a vault's registration. The texts are for whoever registers it."""

from __future__ import annotations


class RegistrationRefused(ValueError):
    """A vault cannot be registered; the text names the fault and what to do."""
