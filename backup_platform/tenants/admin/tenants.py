"""The pages of tenants."""

from __future__ import annotations

from django.contrib import admin
from unfold.decorators import display

from backup_platform.console import showing
from backup_platform.console.model_admin import TenantModelAdmin
from backup_platform.console.site import asking
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.services import create_tenant, set_requires_totp


@admin.register(Tenant)
class TenantAdmin(TenantModelAdmin):
    """Tenants: made by platform staff; their administrators change settings. Deleting one is a procedure, no button."""

    allowed = frozenset({"view", "add", "change"})
    list_display = ["name", "id_shown", "requires_totp", "created_shown"]
    search_fields = ["name"]
    readonly_fields = ["id_shown", "created_shown"]

    def get_readonly_fields(self, request, obj=None):
        """A tenant keeps its name: paths and enrolments of its customers know it."""
        return [*self.readonly_fields, "name"] if obj else self.readonly_fields

    def get_fields(self, request, obj=None):
        """A name first; settings when it is there."""
        return ["name", "requires_totp", "id_shown", "created_shown"] if obj else ["name"]

    def save_model(self, request, obj, form, change):
        """By the services, so that it is audited as everywhere."""
        actor = asking(request)
        if change:
            set_requires_totp(actor, obj, wanted=obj.requires_totp)
        else:
            obj.pk = create_tenant(obj.name, actor=actor.name).pk

    @display(description="Id")
    def id_shown(self, tenant):
        return showing.code(tenant.pk.hex, 12)

    @display(description="Made", ordering="created_at")
    def created_shown(self, tenant):
        return showing.moment(tenant.created_at)
