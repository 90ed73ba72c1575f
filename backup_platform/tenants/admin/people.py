"""Pages of members and of the roles that a tenant made itself."""

from __future__ import annotations

from django.contrib import admin
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.decorators import display

from backup_platform.console import showing
from backup_platform.console.model_admin import TENANT_FILTER, RefusalsAsMessages, TenantModelAdmin
from backup_platform.console.site import asking, asking_in
from backup_platform.tenants.errors import PlaceRefused
from backup_platform.tenants.invitations import invite
from backup_platform.tenants.models import CustomRole, Member, Role
from backup_platform.tenants.people import delete_role, place_member, remove_place, save_role
from backup_platform.tenants.permissions import known

from .forms import InvitationForm, NewPlaceForm, NewRoleForm, PlaceForm, RoleForm

ROLE_COLOURS = {
    Role.ADMIN.label: "danger",
    Role.OPERATOR.label: "warning",
    Role.RESTORE_OPERATOR.label: "warning",
    Role.AUDITOR.label: "info",
    Role.VIEWER.label: "default",
}


@admin.register(Member)
class MemberAdmin(RefusalsAsMessages, TenantModelAdmin):
    """Who belongs to a tenant. A tenant's administrator adds people; platform staff also place those of others."""

    refusals = (PlaceRefused,)
    allowed = frozenset({"view", "add", "change", "delete"})
    list_display = ["user_shown", "tenant", "role_shown", "limits_shown", "created_shown"]
    list_filter = ["role", TENANT_FILTER]
    search_fields = ["user__username", "user__email"]
    list_select_related = ["user", "tenant", "custom_role"]
    raw_id_fields = ["user"]
    autocomplete_fields = ["tenant"]
    readonly_fields = ["user_shown", "tenant_shown", "role_shown", "limits_shown", "created_shown"]

    def get_queryset(self, request):
        """With each member's limits: one query a page."""
        return super().get_queryset(request).prefetch_related("limits__group")

    def get_form(self, request, obj=None, change=False, **kwargs):
        """One form to change a place, one to invite, one for platform staff to place anybody."""
        kwargs["form"] = PlaceForm if obj else NewPlaceForm if self._is_staff(request) else InvitationForm
        return super().get_form(request, obj, change=change, **kwargs)

    def get_fieldsets(self, request, obj=None):
        """What stands on the page, for whom."""
        if obj is not None and not self.has_change_permission(request, obj):
            return [(None, {"fields": ["user_shown", "tenant_shown", "role_shown", "limits_shown", "created_shown"]})]
        if obj is not None:
            return [(None, {"fields": ["user_shown", "tenant_shown", "place", "limits", "created_shown"]})]
        first = ["user", "tenant"] if self._is_staff(request) else ["username", "email"]
        return [(None, {"fields": [*first, "place", "limits"]})]

    def save_model(self, request, obj, form, change):
        """By the services, so that their rules and the audit hold as everywhere."""
        actor = asking(request)
        if change or self._is_staff(request):
            obj.pk = place_member(actor, obj.tenant, obj.user, **form.chosen()).pk
            return
        given, tenant = form.cleaned_data, asking_in(request)
        invited = invite(actor, tenant, given["username"], given["email"], **form.chosen())
        obj.pk, obj.user, obj.tenant = invited.member.pk, invited.member.user, invited.member.tenant
        request.invited = invited

    def save_related(self, request, form, formsets, change):
        """Nothing: the service has done it."""

    def response_add(self, request, obj, post_url_continue=None):
        """After an invitation, the one-time password on a page of its own: it is kept nowhere."""
        invited = getattr(request, "invited", None)
        if invited is None:
            return super().response_add(request, obj, post_url_continue)
        context = {**self.admin_site.each_context(request), "title": f"{obj.user.get_username()} was added",
                   "opts": self.opts, "member": obj, "password": invited.password,
                   "address": request.build_absolute_uri(reverse("admin:login")),
                   "back": reverse("admin:tenants_member_changelist")}  # fmt: skip
        return TemplateResponse(request, "console/member_added.html", context)

    def delete_model(self, request, obj):
        """By the service, for the same reason."""
        remove_place(asking(request), obj)

    def _is_staff(self, request):
        return asking(request).is_platform_staff

    @display(description="User", ordering="user__username")
    def user_shown(self, member):
        return member.user.get_username()

    @display(description="Tenant")
    def tenant_shown(self, member):
        return member.tenant.name

    @display(description="Role", ordering="role", label=ROLE_COLOURS)
    def role_shown(self, member):
        return member.custom_role.name if member.custom_role else member.get_role_display()

    @display(description="Limited to")
    def limits_shown(self, member):
        return ", ".join(sorted(limit.group.name for limit in member.limits.all())) or "all machines"

    @display(description="Since", ordering="created_at")
    def created_shown(self, member):
        return showing.moment(member.created_at)


@admin.register(CustomRole)
class CustomRoleAdmin(RefusalsAsMessages, TenantModelAdmin):
    """Roles that a tenant made itself."""

    refusals = (PlaceRefused,)
    allowed = frozenset({"view", "add", "change", "delete"})
    list_display = ["name", "tenant", "rights_shown", "created_shown"]
    list_filter = [TENANT_FILTER]
    search_fields = ["name"]
    list_select_related = ["tenant"]
    autocomplete_fields = ["tenant"]
    readonly_fields = ["tenant_shown", "rights_shown", "created_shown"]

    def get_form(self, request, obj=None, change=False, **kwargs):
        """Who sees every tenant says which one a new role is for."""
        kwargs["form"] = NewRoleForm if obj is None and self._spans_tenants(request) else RoleForm
        return super().get_form(request, obj, change=change, **kwargs)

    def get_fieldsets(self, request, obj=None):
        """What stands on the page, for whom."""
        if obj is not None and not self.has_change_permission(request, obj):
            return [(None, {"fields": ["name", "tenant_shown", "rights_shown", "created_shown"]})]
        first = ["tenant"] if obj is None and self._spans_tenants(request) else []
        return [(None, {"fields": [*first, "name", "rights"]})]

    def save_model(self, request, obj, form, change):
        """By the service: it knows whose rights may be given."""
        actor = asking(request)
        tenant = obj.tenant if obj.tenant_id else asking_in(request)
        stored = CustomRole.objects.get(pk=obj.pk) if change else None
        obj.pk = save_role(actor, tenant, obj.name, form.cleaned_data["rights"], stored).pk

    def save_related(self, request, form, formsets, change):
        """Nothing: the service has done it."""

    def delete_model(self, request, obj):
        """By the service, for the same reason."""
        delete_role(asking(request), obj)

    def _spans_tenants(self, request):
        return asking(request).tenant is None

    @display(description="Tenant")
    def tenant_shown(self, role):
        return role.tenant.name

    @display(description="May")
    def rights_shown(self, role):
        return ", ".join(sorted(known(role.permissions))) or showing.NOTHING

    @display(description="Made", ordering="created_at")
    def created_shown(self, role):
        return showing.moment(role.created_at)
