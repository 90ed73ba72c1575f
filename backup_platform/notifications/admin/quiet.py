"""What is not told: snoozes, and the thresholds from which on something is told at all."""

from __future__ import annotations

from datetime import timedelta

from django.contrib import admin
from django.utils import timezone
from unfold.decorators import display

from backup_platform.audit.services import record as record_audit
from backup_platform.console.model_admin import TENANT_FILTER, TenantModelAdmin
from backup_platform.notifications import acting
from backup_platform.notifications.admin.asking import AskingAdmin, person_of, tenant_shown
from backup_platform.notifications.admin.forms import SnoozeForm
from backup_platform.notifications.models import Snooze, WatchRules


@admin.register(Snooze)
class SnoozeAdmin(AskingAdmin):
    """Until when nobody is told of what. Deleting one ends it."""

    allowed = frozenset({"view", "add", "delete"})
    form = SnoozeForm
    list_display = ["what_shown", "until_shown", "by", "reason", "tenant"]
    list_select_related = ["tenant"]
    list_filter = ["kind", TENANT_FILTER]
    fields = ["tenant", "kind", "hours", "reason"]
    autocomplete_fields = ["tenant"]

    def get_fields(self, request, obj=None):
        """A new one asks for how long; one that is there says until when."""
        if obj is not None:
            return ["what_shown", "subject", "until_shown", "by", "reason", "tenant"]
        return ["kind", "hours", "reason"] if tenant_shown(request) else ["tenant", "kind", "hours", "reason"]

    def save_model(self, request, obj, form, change):
        """Make it by the service, so that it is checked and audited as everywhere."""
        tenant = self.tenant_of_new(request, form)
        made = acting.snooze(
            tenant.pk if tenant else None,
            until=timezone.now() + timedelta(hours=form.cleaned_data["hours"]),
            actor=self.person(request), kind=obj.kind, reason=obj.reason,
        )  # fmt: skip
        obj.pk, obj.tenant, obj.until = made.pk, made.tenant, made.until

    def delete_model(self, request, obj):
        """End it by the service, for the same reason."""
        acting.end_snooze(obj, actor=self.person(request))

    @display(description="What")
    def what_shown(self, row):
        what = row.get_kind_display() if row.kind else "Everything"
        return f"{what}, one thing only" if row.subject else what

    @display(description="Until", ordering="until")
    def until_shown(self, row):
        over = " (over)" if row.until <= timezone.now() else ""
        return f"{row.until:%Y-%m-%d %H:%M} UTC{over}"


@admin.register(WatchRules)
class WatchRulesAdmin(TenantModelAdmin):
    """From when on a tenant calls something late, silent or stale."""

    allowed = frozenset({"view", "add", "change", "delete"})
    list_display = ["name_shown", "server_silent", "laptop_silent", "server_overdue", "server_stale", "tenant_stale"]
    list_select_related = ["tenant"]
    hours = ["server_silent", "laptop_silent", "server_overdue", "laptop_overdue", "server_stale", "laptop_stale",
             "tenant_stale"]  # fmt: skip

    def get_fields(self, request, obj=None):
        """All are hours; the tenant is fixed where one is shown, and once a row is there."""
        return self.hours if obj is None and tenant_shown(request) else ["tenant", *self.hours]

    def get_readonly_fields(self, request, obj=None):
        """A row belongs to its tenant for good."""
        return ["tenant"] if obj else []

    def has_add_permission(self, request):
        """One row a tenant."""
        return super().has_add_permission(request) and not (tenant_shown(request) and WatchRules.objects.exists())

    def save_model(self, request, obj, form, change):
        """Save it, with a line in the audit: thresholds decide what is never heard of."""
        obj.tenant_id = obj.tenant_id or tenant_shown(request).pk
        super().save_model(request, obj, form, change)
        self._note(request, obj, "thresholds.changed")

    def delete_model(self, request, obj):
        """Go back to the platform's thresholds, with a line in the audit for the same reason."""
        self._note(request, obj, "thresholds.removed")
        super().delete_model(request, obj)

    def _note(self, request, obj, verb):
        record_audit(verb, actor=person_of(request), object=f"tenant:{obj.tenant_id}", tenant=obj.tenant_id,
                     **{name: getattr(obj, name) for name in self.hours})  # fmt: skip

    @display(description="Thresholds of")
    def name_shown(self, rules):
        return rules.tenant.name
