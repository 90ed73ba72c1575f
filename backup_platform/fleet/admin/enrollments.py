"""Enrolments: never the token (it is not kept), never the blob (nobody here can open it)."""

from __future__ import annotations

import hashlib

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import JsonResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from unfold.decorators import action, display
from unfold.enums import ActionVariant

from backup_platform.console import showing
from backup_platform.console.asking import AskingAdmin, Question
from backup_platform.console.model_admin import TENANT_FILTER, VAULT_FILTER, TenantModelAdmin
from backup_platform.console.site import asking
from backup_platform.fleet.errors import AuthorityFault, TermsRefused
from backup_platform.fleet.models import EnrollmentToken
from backup_platform.fleet.reaching import enrollment_address
from backup_platform.fleet.services import authority
from backup_platform.fleet.tokens import new_token, register_token, withdraw_token
from backup_platform.tenants.errors import OutOfReach
from backup_platform.vaults.models import Vault
from protocol.stored.errors import FormatError

from .enrollment_form import EnrollmentForm

TOKEN_COLOURS = {"open": "success", "used up": "default", "expired": "warning"}
SHOWN_VAULTS = 200


@admin.register(EnrollmentToken)
class EnrollmentTokenAdmin(AskingAdmin, TenantModelAdmin):
    """Enrolments: made in the browser, which alone sees the one-time key; listed; withdrawn."""

    allowed = frozenset({"view", "add", "change"})
    list_display = ["made_shown", "state_shown", "uses_left", "expires_shown", "group", "tenant", "vault", "rights",
                    "approval_shown", "created_by"]  # fmt: skip
    list_filter = ["write_only", "needs_approval", VAULT_FILTER, TENANT_FILTER]
    search_fields = ["machine_name", "created_by"]
    list_select_related = ["tenant", "vault", "group"]
    actions_detail = ["withdraw"]
    fields = ["state_shown", "tenant", "vault", "group", "machine_name", "rights", "approval_shown", "uses_left",
              "made_shown", "expires_shown", "used_shown", "created_by"]  # fmt: skip

    def has_change_permission(self, request, obj=None):
        """No field can be edited; the right to change is the right to withdraw."""
        return False

    def has_withdraw_permission(self, request, object_id=None):
        """Whether this person may withdraw enrolments."""
        return self.may(request, "change")

    def add_view(self, request, form_url="", extra_context=None):
        """The page where an enrolment is made. Its script seals the blob; a POST registers what it made."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        if request.method == "POST":
            return self._register(request)
        context = {**self.admin_site.each_context(request), "title": "Enrol machines", "opts": self.opts,
                   "form": EnrollmentForm(), "limited": asking(request).is_limited, "vaults": self._vaults(),
                   "back": reverse("admin:fleet_enrollmenttoken_changelist")}  # fmt: skip
        return TemplateResponse(request, "console/enroll.html", context)

    def _vaults(self):
        known = Vault.objects.select_related("tenant").order_by("name")[:SHOWN_VAULTS]
        return [{"id": vault.pk.hex, "name": vault.name, "tenant": vault.tenant.name, "epoch": vault.epoch,
                 "signing": bytes(vault.signing_key_hash).hex()} for vault in known]  # fmt: skip

    def _register(self, request):
        """Answer the page's script: the server's part of the string, which ends before the token's and key's places."""
        form = EnrollmentForm(request.POST)
        if not form.is_valid():
            return JsonResponse({"faults": [text for texts in form.errors.values() for text in texts]}, status=400)
        try:
            vault, address, ca = form.vault(), enrollment_address(), authority().fingerprint.hex()
            row, token = self._make(form, vault, asking(request))
        except (TermsRefused, FormatError, AuthorityFault, OutOfReach) as fault:
            return JsonResponse({"faults": [str(fault)]}, status=400)
        link = reverse("admin:fleet_enrollmenttoken_change", args=[row.pk])
        said = {"address": address, "ca": ca, "link": link, "expires": row.expires_at.isoformat(), "token": token}
        return JsonResponse(said)

    def _make(self, form, vault, by):
        """The row; and the token, where no browser has made one: without a key there is nothing to keep from us."""
        given = form.cleaned_data
        if not given["without_key"]:
            return register_token(vault, given["token_hash"], given["blob"], form.terms(), by=by), ""
        token, text = new_token()
        return register_token(vault, hashlib.sha256(token).digest(), b"", form.terms(), by=by), text

    @action(description="Withdraw", icon="block", variant=ActionVariant.DANGER, permissions=["withdraw"])
    def withdraw(self, request, object_id):
        """Ask, then make the enrolment unusable. A GET only asks."""

        def question(_token):
            text = ("Whoever holds the enrolment string cannot use it any more. Machines that used it stay enrolled.",)
            return Question("Withdraw this enrolment?", text, "Withdraw")

        def act(token, _reason):
            if withdraw_token(token.pk, token.tenant_id, actor=asking(request)):
                return "The enrolment was withdrawn; its string is worthless now."
            return "The enrolment could not be used any more before."

        return self.ask_or_act(request, object_id, self.may(request, "change"), question, act)

    @display(description="State", label=TOKEN_COLOURS)
    def state_shown(self, token):
        if token.uses_left == 0:
            return "used up"
        return "expired" if token.expires_at <= timezone.now() else "open"

    @display(description="Rights")
    def rights(self, token):
        return "write-only" if token.write_only else "reads its own"

    @display(description="Approval")
    def approval_shown(self, token):
        return "by fingerprint" if token.needs_approval else "not needed"

    @display(description="Made", ordering="created_at")
    def made_shown(self, token):
        return showing.moment(token.created_at)

    @display(description="Good until", ordering="expires_at")
    def expires_shown(self, token):
        return f"{token.expires_at:%Y-%m-%d %H:%M} UTC"

    @display(description="Last used")
    def used_shown(self, token):
        return showing.moment(token.used_at)
