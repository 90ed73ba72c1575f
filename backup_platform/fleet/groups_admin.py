"""Pages of machine groups."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.sites import site
from django.contrib.admin.widgets import AutocompleteSelectMultiple
from django.http import HttpRequest, HttpResponseRedirect
from django.urls import reverse
from unfold.decorators import display

from backup_platform.console import showing
from backup_platform.console.model_admin import TENANT_FILTER, TenantModelAdmin
from backup_platform.console.site import actor_of, asking
from backup_platform.fleet.groups import (
    GroupRefused,
    change_group,
    delete_group,
    make_group,
    set_machines,
)
from backup_platform.fleet.models import GroupMembership, Machine, MachineGroup
from backup_platform.fleet.queries import with_machine_count

MAX_CHOSEN = 5000


class GroupForm(forms.ModelForm):  # type: ignore[type-arg] # Django's class takes no argument when it runs
    """A group and its machines. Saving is part of checking: the service's refusals appear at their fields."""

    asker: Any = None
    saved: Any = None
    machines = forms.ModelMultipleChoiceField(
        queryset=Machine.objects.none(), required=False, help_text="Type to find machines by name."
    )

    class Meta:
        model = MachineGroup
        fields = ("tenant", "name", "description", "rank")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["machines"]
        field.queryset = Machine.objects.order_by("name")
        field.widget = AutocompleteSelectMultiple(GroupMembership._meta.get_field("machine"), site)
        field.widget.choices = field.choices
        self.is_new = self.instance.created_at is None
        if not self.is_new:
            self.initial["machines"] = list(self.instance.memberships.values_list("machine_id", flat=True))

    def clean(self) -> dict[str, Any]:
        """Save by the services once everything else is right."""
        super().clean()
        if not self.errors:
            try:
                self.saved = self._save_by_service()
            except GroupRefused as refused:
                self.add_error(refused.field if refused.field in self.fields else None, str(refused))
        return self.cleaned_data

    def _save_by_service(self) -> MachineGroup:
        facts = {name: self.cleaned_data[name] for name in ("name", "description", "rank")}
        chosen = [machine.pk for machine in self.cleaned_data["machines"]][:MAX_CHOSEN]
        if self.is_new:
            group = make_group(self.cleaned_data.get("tenant") or self.asker.tenant, by=self.asker, **facts)
        else:
            group = change_group(self.instance, by=self.asker, **facts)
        set_machines(group, chosen, by=self.asker)
        return group

    def validate_unique(self) -> None:
        """The service says it, in its own words."""

    def _post_clean(self) -> None:
        """The service has saved already."""

    def save(self, commit: bool = True) -> MachineGroup:
        """What the service saved."""
        self.save_m2m: Any = lambda: None
        return self.saved  # type: ignore[no-any-return]


@admin.register(MachineGroup)
class MachineGroupAdmin(TenantModelAdmin):
    """Groups of machines: policies are assigned to them, and members' rights may be limited to them."""

    allowed = frozenset({"view", "add", "change", "delete"})
    form = GroupForm
    list_display = ["name", "machines_shown", "rank", "description", "tenant"]
    list_filter = [TENANT_FILTER]
    search_fields = ["name", "description"]
    list_select_related = ["tenant"]
    change_form_show_cancel_button = True

    def get_queryset(self, request: HttpRequest) -> Any:
        """With the number of machines, by sub-query."""
        return with_machine_count(super().get_queryset(request))

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """The tenant is asked for only where several are in sight."""
        actor = actor_of(request)
        shown = ["tenant"] if obj is not None or (actor and actor.tenant is None) else []
        machines = "machines" if obj is None or self.has_change_permission(request, obj) else "machines_shown"
        return [*shown, "name", "description", "rank", machines]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """A group stays in its tenant."""
        return ["tenant", "machines_shown"] if obj else []

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """The form, knowing who asks."""
        kwargs["form"] = type("GroupForm", (GroupForm,), {"asker": asking(request)})
        return super().get_form(request, obj, change=change, **kwargs)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """The form has saved it by the service."""

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Delete by the service."""
        delete_group(obj, by=asking(request))

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        """Django's page; a refusal is told on the group's own page."""
        try:
            return super().delete_view(request, object_id, extra_context)
        except GroupRefused as refused:
            messages.error(request, str(refused))
            return HttpResponseRedirect(reverse("admin:fleet_machinegroup_change", args=[object_id]))

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """What goes along is named; it needs no right of its own, and the service says what forbids it."""
        names, counts, _, _ = super().get_deleted_objects(objs, request)
        return names, counts, set(), []

    def log_deletions(self, request: HttpRequest, queryset: Any) -> None:
        """The audit has it."""

    @display(description="Machines", ordering="machine_count")  # type: ignore[untyped-decorator] # Unfold has no types
    def machines_shown(self, group: Any) -> str:
        return showing.number(group.machine_count or 0)
