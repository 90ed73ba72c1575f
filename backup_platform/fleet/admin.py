"""Machines and enrolments."""

from __future__ import annotations

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from unfold.decorators import action, display
from unfold.enums import ActionVariant

from backup_platform.console import showing
from backup_platform.console.model_admin import TENANT_FILTER, VAULT_FILTER, TenantModelAdmin
from backup_platform.fleet.models import EnrollmentToken, Machine, MachineState
from backup_platform.fleet.queries import with_last_snapshot
from backup_platform.fleet.services import revoke_machine
from backup_platform.fleet.tokens import withdraw_token

PRESENCE_COLOURS = {"online": "success", "away": "default", "revoked": "danger"}
TOKEN_COLOURS = {"open": "success", "used up": "default", "expired": "warning"}
STATE_COLOURS = {"verified": "success", "received": "info", "damaged": "danger", "expired": "default"}


def _person(request):
    return f"user {request.user.get_username()}"


@admin.register(Machine)
class MachineAdmin(TenantModelAdmin):
    """Machines. They enrol themselves; people look, and take access away."""

    allowed = frozenset({"view", "change"})
    list_display = ["name", "presence", "tenant", "vault", "system", "last_snapshot", "last_state", "rights"]
    list_filter = ["state", "write_only", VAULT_FILTER, TENANT_FILTER]
    search_fields = ["name"]
    list_select_related = ["tenant", "vault"]
    actions_detail = ["revoke"]
    fieldsets = [
        (None, {"fields": ["name", "presence_text", "tenant", "vault", "rights", "last_snapshot", "last_state"]}),
        ("What it says of itself", {"fields": ["facts_shown"]}),
        ("Times", {"fields": ["enrolled_shown", "seen_shown", "certificate_shown", "revoked_shown"]}),
        ("Keys", {"fields": ["identity_shown", "record_shown"]}),
    ]

    def get_queryset(self, request):
        """With each machine's newest snapshot, by sub-query: one query a page."""
        return with_last_snapshot(super().get_queryset(request))

    def has_change_permission(self, request, obj=None):
        """No field can be edited; the right to change is the right to revoke."""
        return False

    def has_revoke_permission(self, request, object_id=None):
        """Whether this person may revoke machines."""
        return self.may(request, "change")

    @action(description="Revoke access", icon="block", variant=ActionVariant.DANGER, permissions=["revoke"])
    def revoke(self, request, object_id):
        """Ask, then revoke. A GET only asks."""
        machine = self.get_object(request, object_id)
        if machine is None:
            raise Http404
        if not self.has_revoke_permission(request):
            raise PermissionDenied
        back = redirect(reverse("admin:fleet_machine_change", args=[machine.pk]))
        if request.method != "POST":
            return self.ask(request, machine)
        if revoke_machine(machine, actor=_person(request)):
            messages.success(request, f"{machine.name} cannot connect any more. Its snapshots stay.")
        else:
            messages.info(request, f"{machine.name} was revoked before.")
        return back

    def ask(self, request, machine):
        """The page that asks before access is taken away."""
        from django.template.response import TemplateResponse

        context = {
            **self.admin_site.each_context(request),
            "title": f"Revoke {machine.name}?",
            "opts": self.opts,
            "machine": machine,
            "back": reverse("admin:fleet_machine_change", args=[machine.pk]),
        }
        return TemplateResponse(request, "console/revoke_machine.html", context)

    @display(description="Presence", ordering="last_seen_at", label=PRESENCE_COLOURS)
    def presence(self, machine):
        if machine.state == MachineState.REVOKED:
            return "revoked"
        seen = machine.last_seen_at
        return "online" if seen and timezone.now() - seen < showing.ONLINE else ("away", f"seen {showing.ago(seen)}")

    @display(description="Presence")
    def presence_text(self, machine):
        shown = self.presence(machine)
        return shown if isinstance(shown, str) else shown[1]

    @display(description="System")
    def system(self, machine):
        return machine.facts.get("os") or showing.NOTHING

    @display(description="Last snapshot", ordering="last_received_at")
    def last_snapshot(self, machine):
        return showing.moment(machine.last_received_at) if machine.last_received_at else "none yet"

    @display(description="State", ordering="last_snapshot_state", label=STATE_COLOURS)
    def last_state(self, machine):
        return machine.last_snapshot_state or None

    @display(description="Rights", ordering="write_only")
    def rights(self, machine):
        return "write-only" if machine.write_only else "reads its own"

    @display(description="Facts")
    def facts_shown(self, machine):
        return ", ".join(f"{key}: {value}" for key, value in sorted(machine.facts.items())) or showing.NOTHING

    @display(description="Enrolled")
    def enrolled_shown(self, machine):
        return showing.moment(machine.enrolled_at)

    @display(description="Last seen")
    def seen_shown(self, machine):
        return showing.moment(machine.last_seen_at)

    @display(description="Certificate until")
    def certificate_shown(self, machine):
        return f"{machine.certificate_until:%Y-%m-%d %H:%M} UTC"

    @display(description="Revoked")
    def revoked_shown(self, machine):
        return showing.moment(machine.revoked_at)

    @display(description="Identity key (SHA-256)")
    def identity_shown(self, machine):
        return showing.code(bytes(machine.identity_hash).hex())

    @display(description="Machine record")
    def record_shown(self, machine):
        return "published" if machine.record else "not published yet"


@admin.register(EnrollmentToken)
class EnrollmentTokenAdmin(TenantModelAdmin):
    """Enrolments: never the token (it is not kept), never the blob (nobody here can open it)."""

    allowed = frozenset({"view", "change"})
    list_display = [
        "made_shown",
        "state_shown",
        "uses_left",
        "expires_shown",
        "tenant",
        "vault",
        "rights",
        "created_by",
    ]
    list_filter = ["write_only", VAULT_FILTER, TENANT_FILTER]
    search_fields = ["machine_name", "created_by"]
    list_select_related = ["tenant", "vault"]
    actions_detail = ["withdraw"]
    fields = ["state_shown", "tenant", "vault", "machine_name", "rights", "uses_left", "made_shown", "expires_shown",
              "used_shown", "created_by"]  # fmt: skip

    def has_change_permission(self, request, obj=None):
        """No field can be edited; the right to change is the right to withdraw."""
        return False

    def has_withdraw_permission(self, request, object_id=None):
        """Whether this person may withdraw enrolments."""
        return self.may(request, "change")

    @action(description="Withdraw", icon="block", variant=ActionVariant.DANGER, permissions=["withdraw"])
    def withdraw(self, request, object_id):
        """Ask, then make the enrolment unusable. A GET only asks."""
        from django.template.response import TemplateResponse

        token = self.get_object(request, object_id)
        if token is None:
            raise Http404
        back = reverse("admin:fleet_enrollmenttoken_change", args=[token.pk])
        if request.method != "POST":
            context = {**self.admin_site.each_context(request), "title": "Withdraw this enrolment?", "opts": self.opts,
                       "token": token, "back": back}  # fmt: skip
            return TemplateResponse(request, "console/withdraw_enrollment.html", context)
        if withdraw_token(token.pk, token.tenant_id, actor=_person(request)):
            messages.success(request, "The enrolment was withdrawn; its string is worthless now.")
        return redirect(back)

    @display(description="State", label=TOKEN_COLOURS)
    def state_shown(self, token):
        if token.uses_left == 0:
            return "used up"
        return "expired" if token.expires_at <= timezone.now() else "open"

    @display(description="Rights")
    def rights(self, token):
        return "write-only" if token.write_only else "reads its own"

    @display(description="Made", ordering="created_at")
    def made_shown(self, token):
        return showing.moment(token.created_at)

    @display(description="Good until", ordering="expires_at")
    def expires_shown(self, token):
        return f"{token.expires_at:%Y-%m-%d %H:%M} UTC"

    @display(description="Last used")
    def used_shown(self, token):
        return showing.moment(token.used_at)
