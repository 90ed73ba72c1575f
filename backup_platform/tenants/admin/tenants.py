"""The pages of tenants."""

from __future__ import annotations

from django.contrib import admin
from unfold.decorators import display

from backup_platform.console import showing
from backup_platform.console.model_admin import RefusalsAsMessages, TenantModelAdmin
from backup_platform.console.site import asking
from backup_platform.tenants.errors import QuotaRefused
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.quotas import set_quotas, usage_of
from backup_platform.tenants.services import create_tenant, set_requires_totp

from .quota_form import QuotaForm


@admin.register(Tenant)
class TenantAdmin(RefusalsAsMessages, TenantModelAdmin):
    """Tenants: made by platform staff; their administrators change settings. Deleting one is a procedure, no button.

    Quotas are set by the platform's superusers, and shown with what is used to whoever sees the whole tenant.
    """

    refusals = (QuotaRefused,)
    allowed = frozenset({"view", "add", "change"})
    list_display = ["name", "id_shown", "requires_totp", "created_shown"]
    search_fields = ["name"]
    readonly_fields = ["stored_shown", "machines_shown", "id_shown", "created_shown"]

    def get_readonly_fields(self, request, obj=None):
        """A tenant keeps its name: paths and enrolments of its customers know it."""
        return [*self.readonly_fields, "name"] if obj else self.readonly_fields

    def get_fields(self, request, obj=None):
        """A name first; settings when it is there."""
        if obj is None:
            return ["name"]
        actor = asking(request)
        quotas = ["quota_gib", "quota_machines"] if self._sets_quotas(request) else []
        used = [] if actor.is_limited else ["stored_shown", "machines_shown"]
        return ["name", "requires_totp", *quotas, *used, "id_shown", "created_shown"]

    def get_form(self, request, obj=None, change=False, **kwargs):
        """Quotas are in the form of whoever may set them, and in nobody else's."""
        if obj is not None and self._sets_quotas(request):
            kwargs["form"] = QuotaForm
        return super().get_form(request, obj, change=change, **kwargs)

    def save_model(self, request, obj, form, change):
        """By the services, so that it is audited as everywhere."""
        actor = asking(request)
        if not change:
            obj.pk = create_tenant(obj.name, actor=actor.name).pk
            return
        if "requires_totp" in form.changed_data:
            set_requires_totp(actor, obj, wanted=obj.requires_totp)
        if isinstance(form, QuotaForm):
            set_quotas(actor, obj, **form.quotas())

    def _sets_quotas(self, request):
        actor = asking(request)
        return actor.is_platform_staff and actor.user.is_superuser

    @display(description="Stored data")
    def stored_shown(self, tenant):
        usage = usage_of(tenant)
        used = showing.size(usage.stored_bytes)
        if usage.share is None:
            return f"{used}; no quota"
        full = ": used up, new backups are refused" if usage.full else ""
        return f"{used} of {showing.size(usage.quota_bytes)} ({int(usage.share * 100)} %){full}"

    @display(description="Machines")
    def machines_shown(self, tenant):
        usage = usage_of(tenant)
        if usage.quota_machines is None:
            return f"{usage.machines:,}; no quota"
        return f"{usage.machines:,} of {usage.quota_machines:,}"

    @display(description="Id")
    def id_shown(self, tenant):
        return showing.code(tenant.pk.hex, 12)

    @display(description="Made", ordering="created_at")
    def created_shown(self, tenant):
        return showing.moment(tenant.created_at)
