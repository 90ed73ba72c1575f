"""Limits of how many jobs run at once, and the workers' beats."""

from __future__ import annotations

from django import forms
from django.contrib import admin
from unfold.decorators import display

from backup_platform.console import showing
from backup_platform.console.model_admin import TENANT_FILTER, PlatformModelAdmin, TenantModelAdmin
from backup_platform.console.site import actor_of
from backup_platform.jobs import limits
from backup_platform.jobs.models import JobLimits, WorkerBeat
from backup_platform.tenants.models import Tenant


class LimitsForm(forms.ModelForm):
    """A limit, with its scope checked in words before the database would refuse it."""

    tenant: Tenant | None = None
    """The tenant that is looked at; None where the platform sets limits of any."""

    def clean(self):
        """The cleaned values. Django cannot check constraints over fields that a member is not shown."""
        values = super().clean() or self.cleaned_data
        tenant = values.get("tenant") if "tenant" in self.fields else self.instance.tenant or self.tenant
        group, target = values.get("group"), values.get("target", "")
        if bool(tenant) == bool(target) or (group and (tenant is None or group.tenant_id != tenant.pk)):
            raise forms.ValidationError("Choose a tenant (and one of its groups), or name a target: not both.")
        same = JobLimits.objects.filter(tenant=tenant, group=group, target=target).exclude(pk=self.instance.pk)
        if same.exists():
            raise forms.ValidationError("There is such a limit already: change that one.")
        return values


@admin.register(JobLimits)
class JobLimitsAdmin(TenantModelAdmin):
    """How many jobs of machines run at once, in a tenant, a group, or to a target of the platform."""

    allowed = frozenset({"view", "add", "change", "delete"})
    list_display = ["__str__", "most_running", "group", "target", "tenant"]
    list_filter = [TENANT_FILTER]
    list_select_related = ["tenant", "group"]
    search_fields = ["group__name"]

    form = LimitsForm

    def get_form(self, request, obj=None, change=False, **kwargs):
        """With the tenant that is looked at."""
        form = super().get_form(request, obj, change=change, **kwargs)
        actor = actor_of(request)
        form.tenant = actor.tenant if actor else None
        return form

    def get_fields(self, request, obj=None):
        """Members set limits of their own tenant; targets are the platform's."""
        actor = actor_of(request)
        return ["group", "most_running"] if actor and actor.tenant else ["tenant", "group", "target", "most_running"]

    def save_model(self, request, obj, form, change):
        """Store it, in the tenant that is looked at, with a line in the audit."""
        actor = actor_of(request)
        assert actor is not None, "the permission was asked before"
        if actor.tenant is not None and not change:
            obj.tenant = actor.tenant
        limits.save(obj, by=actor.name)

    def delete_model(self, request, obj):
        """Remove it, with a line in the audit."""
        actor = actor_of(request)
        assert actor is not None, "the permission was asked before"
        limits.remove(obj, by=actor.name)


@admin.register(WorkerBeat)
class WorkerBeatAdmin(PlatformModelAdmin):
    """When each worker last did a task for real."""

    list_display = ["name", "seen_shown"]
    fields = ["name", "seen_shown"]

    @display(description="Last task", ordering="seen_at")
    def seen_shown(self, beat):
        return showing.moment(beat.seen_at)
