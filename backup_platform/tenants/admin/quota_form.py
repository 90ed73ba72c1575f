"""The form of a tenant, for the platform's superusers: its settings, and its quotas in units that people think in."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminDecimalFieldWidget

from backup_platform.tenants.models import Tenant
from backup_platform.tenants.quotas import LARGEST

GIB = 2**30


class QuotaForm(forms.ModelForm):
    """A tenant's settings, with its quota of stored data in GiB."""

    quota_gib = forms.DecimalField(
        label="Quota of stored data, GiB",
        required=False,
        min_value=Decimal("0.001"),
        max_value=Decimal(LARGEST // GIB),
        decimal_places=3,
        widget=UnfoldAdminDecimalFieldWidget,
        help_text="When it is used up, no new backup begins until there is room. Empty: no limit.",
    )

    class Meta:
        model = Tenant
        fields: tuple[str, ...] = ("requires_totp", "quota_machines")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        stored = self.instance.quota_bytes
        if stored is not None:
            self.initial["quota_gib"] = (Decimal(stored) / GIB).quantize(Decimal("0.001"))

    def quotas(self) -> dict[str, int | None]:
        """What `set_quotas` takes. A figure that nobody touched stays what it is to the byte."""
        size: Decimal | None = self.cleaned_data["quota_gib"]
        given = None if size is None else int(size * GIB)
        return {
            "quota_bytes": given if "quota_gib" in self.changed_data else self.instance.quota_bytes,
            "quota_machines": self.cleaned_data["quota_machines"],
        }
