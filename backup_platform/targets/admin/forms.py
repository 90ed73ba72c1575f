"""The form of a target: it asks for credentials and never shows any."""

from __future__ import annotations

from django import forms
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminTextInputWidget

from backup_platform.targets.checking import settle
from backup_platform.targets.credentials import Credentials
from backup_platform.targets.errors import TargetRefused
from backup_platform.targets.models import Target, TargetKind
from backup_platform.tenants.models import Tenant

KEEP = "Kept encrypted and never shown again."
FOR_NEW = KEEP
FOR_OLD = f"{KEEP} Leave both keys empty to keep those that are there."


class TargetForm(forms.ModelForm):
    """A target's fields, and the keys to its bucket."""

    access_key = forms.CharField(
        label="Access key", required=False, max_length=4096, help_text=FOR_NEW,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )  # fmt: skip
    secret_key = forms.CharField(
        label="Secret key", required=False, max_length=4096, help_text=FOR_NEW,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}, render_value=False),
    )  # fmt: skip

    class Meta:
        model = Target
        fields = ["tenant", "name", "kind", "path", "endpoint", "region", "bucket", "prefix", "allow_private",
                  "storage_class", "lock_days", "parity_percent", "capacity_bytes", "watermark_percent", "price",
                  "currency"]  # fmt: skip
        labels = {"lock_days": "Object Lock, days", "capacity_bytes": "Capacity, bytes", "price": "Price",
                  "allow_private": "Private address", "parity_percent": "Parity, per cent",
                  "watermark_percent": "Full from, per cent"}  # fmt: skip
        help_texts = {
            "endpoint": "https://host or https://host:port; empty for AWS itself.",
            "region": "As the provider names it; empty: us-east-1.",
            "storage_class": "Of packs only; roots and records stay in the bucket's own class. Empty: its own.",
            "capacity_bytes": "Empty: no limit. The watermark is a part of it.",
        }

    staff = False
    """Whether the platform's own people fill it in."""
    shown_tenant: Tenant | None = None
    """Whose the page is; None: the platform's, for all tenants."""

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        if self.instance._state.adding:  # noqa: SLF001 - Django's own way to tell
            if "kind" in self.fields:
                self.fields["kind"].initial = TargetKind.S3
        else:
            for name in ("access_key", "secret_key"):
                if name in self.fields:
                    self.fields[name].help_text = FOR_OLD

    @property
    def credentials(self) -> Credentials | None:
        """What was entered; None when both fields are empty."""
        access, secret = (self.cleaned_data.get(name, "") for name in ("access_key", "secret_key"))
        return Credentials(access, secret) if access or secret else None

    def _post_clean(self):
        """Check the row as the service will; the sentence of a refusal stands at its field."""
        if self.instance._state.adding:  # noqa: SLF001 - Django's own way to tell
            self.instance.kind = self.cleaned_data.get("kind") or TargetKind.S3
            if self.shown_tenant is not None:
                self.instance.tenant = self.shown_tenant
        super()._post_clean()  # type: ignore[misc] # Django's own hook, which its types leave out
        if self.errors:
            return
        try:
            settle(self.instance, self.credentials, staff=self.staff)
        except TargetRefused as refusal:
            self.add_error(refusal.field if refusal.field in self.fields else None, str(refusal))
