"""Pages of assignments: to whom a policy applies, and what is different there."""

from __future__ import annotations

from django.contrib import admin, messages
from django.http import HttpResponseRedirect
from django.urls import reverse
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import display

from backup_platform.console import showing
from backup_platform.console.model_admin import MACHINE_FILTER, TENANT_FILTER, TenantModelAdmin
from backup_platform.console.site import asking
from backup_platform.policies.admin.fields import FIELD_NAMES, placeholder, value_shown
from backup_platform.policies.admin.forms import OWN, OverridesForm, PlaceForm
from backup_platform.policies.assignments import unassign
from backup_platform.policies.models import Assignment
from backup_platform.policies.registry import SECTIONS, SETTINGS, settings_of

POLICY_FILTER = ("policy", AutocompleteSelectFilter)
GROUP_FILTER = ("group", AutocompleteSelectFilter)
PLACE = ["policy", "group", "machine", "excluded"]


@admin.register(Assignment)
class AssignmentAdmin(TenantModelAdmin):
    """Assignments. One is made in two steps: to whom, then what is different there."""

    allowed = frozenset({"view", "add", "change", "delete"})
    list_display = ["policy_shown", "place_shown", "applies_shown", "own_shown", "tenant"]
    list_filter = [POLICY_FILTER, GROUP_FILTER, MACHINE_FILTER, TENANT_FILTER]
    search_fields = ["policy__name", "group__name", "machine__name"]
    list_select_related = ["policy", "group", "machine", "tenant"]
    autocomplete_fields = ["policy", "group", "machine"]
    change_form_show_cancel_button = True

    class Media:
        css = {"all": ["policies/policies.css"]}

    def get_queryset(self, request):
        """With the names that say which assignment it is."""
        return super().get_queryset(request).select_related("policy", "group", "machine")

    def get_fieldsets(self, request, obj=None):
        """First the place alone; then each setting with its switch."""
        if obj is None:
            about = "Choose a group or a machine. With neither, the policy applies to the whole tenant."
            return [(None, {"fields": PLACE, "description": about})]
        if not self.has_change_permission(request, obj):
            return [(None, {"fields": ["policy_shown", "place_shown", "applies_shown", "own_values"]})]
        head = (None, {"fields": ["policy_shown", "place_shown", "excluded"]})
        return [head, *(_overrides_of(section) for section in SECTIONS)]

    def get_readonly_fields(self, request, obj=None):
        """An assignment stays where it is; it is taken away and made again elsewhere."""
        return ["policy_shown", "place_shown", "applies_shown", "own_values"] if obj else []

    def get_form(self, request, obj=None, change=False, **kwargs):
        """The form of the step, knowing who asks."""
        declared = {"asker": asking(request)}
        if obj is not None:
            for field in FIELD_NAMES.values():
                declared |= {field: placeholder(field), OWN + field: placeholder(field)}
        base = PlaceForm if obj is None else OverridesForm
        kwargs["form"] = type("AssignmentForm", (base,), declared)
        form = super().get_form(request, obj, change=change, **kwargs)
        for name in ("policy", "group", "machine"):
            if name in form.base_fields:
                _plain(form.base_fields[name].widget)
        return form

    def save_model(self, request, obj, form, change):
        """The form has saved it by the service; what is odd is said here."""
        for warning in form.warnings:
            messages.warning(request, f"{SETTINGS[warning.name].label}: {warning.sentence}")

    def response_add(self, request, obj, post_url_continue=None):
        """On to what is different there."""
        messages.success(request, "Assigned. Below you may say what is different here, or leave everything as it is.")
        return HttpResponseRedirect(reverse("admin:policies_assignment_change", args=[obj.pk]))

    def delete_model(self, request, obj):
        """Take it away by the service."""
        unassign(obj.policy, by=asking(request), group=obj.group, machine=obj.machine)

    def log_deletions(self, request, queryset):
        """The audit has it."""

    @display(description="Policy", ordering="policy__name")
    def policy_shown(self, place):
        return place.policy.name

    @display(description="Assigned to")
    def place_shown(self, place):
        if place.machine:
            return f"machine {place.machine.name}"
        return f"group {place.group.name}" if place.group else "the whole tenant"

    @display(description="Applies", label={"applies": "success", "does not apply": "warning"})
    def applies_shown(self, place):
        return "does not apply" if place.excluded else "applies"

    @display(description="Different here")
    def own_shown(self, place):
        names = [SETTINGS[name].label for name in place.overrides if name in SETTINGS]
        return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "") or showing.NOTHING

    @display(description="Different here")
    def own_values(self, place):
        rows = [f"{SETTINGS[name].label}: {value_shown(name, value)}" for name, value in place.overrides.items()
                if name in SETTINGS]  # fmt: skip
        return "; ".join(rows) or showing.NOTHING


def _overrides_of(section):
    """A section's settings, each beside the switch that says whether it has a value of its own here."""
    fields = [FIELD_NAMES[one.name] for one in settings_of(section.name)]
    return (section.label, {"fields": [(OWN + field, field) for field in fields], "description": section.help})


def _plain(widget):
    """Without buttons that make or change the other row in a pop-up."""
    for name in ("can_add_related", "can_change_related", "can_delete_related", "can_view_related"):
        setattr(widget, name, False)
