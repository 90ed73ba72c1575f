"""What the enrolment page asks, and what its script sends."""

from __future__ import annotations

import base64
import binascii
from datetime import timedelta
from typing import Any
from uuid import UUID

from django import forms
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from backup_platform.fleet.models import MachineGroup
from backup_platform.fleet.tokens import MAX_USES, Terms
from backup_platform.tenants.errors import OutOfReach
from backup_platform.vaults.models import Vault
from protocol.stored.enrollment_blobs import MAX_BLOB

LIVES = [(15, "15 minutes"), (60, "1 hour"), (8 * 60, "8 hours"), (24 * 60, "1 day"), (7 * 24 * 60, "7 days"),
         (30 * 24 * 60, "30 days")]  # fmt: skip
HASH_DIGITS = 64


class EnrollmentForm(forms.Form):
    """Terms from the person; token hash, blob and vault from the page's script. Never the token or a key.

    `without_key`: the enrolment key file is given on each machine, so there is no blob, and no hash of a token either.
    """

    uses = forms.IntegerField(
        label="Machines that may use it", min_value=1, max_value=MAX_USES, initial=1,
        widget=UnfoldAdminIntegerFieldWidget,
    )  # fmt: skip
    minutes = forms.TypedChoiceField(
        label="Good for", choices=LIVES, coerce=int, initial=15, widget=UnfoldAdminSelectWidget
    )
    group: Any = forms.ModelChoiceField(
        label="Machine group", queryset=None, required=False, empty_label="none", widget=UnfoldAdminSelectWidget,
        help_text="The new machines join it, and its policies apply to them at once.",
    )  # fmt: skip
    machine_name = forms.CharField(
        label="Name of the machine", max_length=200, required=False, widget=UnfoldAdminTextInputWidget,
        help_text="Empty: the computer's own name.",
    )  # fmt: skip
    write_only = forms.BooleanField(
        label="Write-only", required=False, widget=UnfoldBooleanSwitchWidget,
        help_text="It adds snapshots and can never read one back; restoring needs the recovery kit.",
    )  # fmt: skip
    needs_approval = forms.BooleanField(
        label="Needs approval", required=False, widget=UnfoldBooleanSwitchWidget,
        help_text="A new machine waits until somebody has compared its fingerprint.",
    )  # fmt: skip
    without_key = forms.BooleanField(required=False, widget=forms.HiddenInput)
    token_hash = forms.CharField(widget=forms.HiddenInput, required=False)
    blob = forms.CharField(widget=forms.HiddenInput, max_length=2 * MAX_BLOB, required=False)
    vault_id = forms.CharField(widget=forms.HiddenInput, max_length=36, error_messages={"required": "No vault."})

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        chooser: Any = self.fields["group"]
        chooser.queryset = MachineGroup.objects.order_by("name")

    def clean_token_hash(self) -> bytes:
        """SHA-256 of the token that the browser made; nothing without a key."""
        text = self.cleaned_data["token_hash"]
        if self.cleaned_data["without_key"]:
            return b""
        if not text:
            raise forms.ValidationError("The page's script did not run.")
        try:
            value = bytes.fromhex(text) if len(text) == HASH_DIGITS else b""
        except ValueError:
            value = b""
        if not value:
            raise forms.ValidationError("The token's hash has to be 64 hexadecimal digits.")
        return value

    def clean_blob(self) -> bytes:
        """What the browser sealed; nothing without a key."""
        if self.cleaned_data["without_key"]:
            return b""
        if not self.cleaned_data["blob"]:
            raise forms.ValidationError("No blob.")
        try:
            return base64.b64decode(self.cleaned_data["blob"], validate=True)
        except (binascii.Error, ValueError):
            raise forms.ValidationError("The sealed part is damaged. Try again.") from None

    def vault(self) -> Vault:
        """The vault that the key file names. Raises `OutOfReach`: a missing and a foreign one look alike."""
        try:
            found: Vault | None = Vault.objects.filter(pk=UUID(self.cleaned_data["vault_id"])).first()
        except ValueError:
            found = None
        if found is None:
            raise OutOfReach
        return found

    def terms(self) -> Terms:
        """The terms as the service takes them."""
        given = self.cleaned_data
        return Terms(given["uses"], timedelta(minutes=given["minutes"]), given["write_only"], given["machine_name"],
                     given["group"], given["needs_approval"])  # fmt: skip
