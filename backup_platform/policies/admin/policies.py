"""Pages of policies: the list, the form with a field for every setting, and what a policy comes to where."""

from __future__ import annotations

from django.contrib import admin, messages
from django.http import HttpResponseRedirect
from django.urls import reverse
from unfold.decorators import display

from backup_platform.console import showing
from backup_platform.console.model_admin import TENANT_FILTER
from backup_platform.console.site import asking
from backup_platform.policies.admin.acts import PolicyActs
from backup_platform.policies.admin.fields import FIELD_NAMES, placeholder
from backup_platform.policies.admin.forms import PolicyForm
from backup_platform.policies.admin.panels import policy_panel
from backup_platform.policies.errors import PolicyRefused
from backup_platform.policies.models import Policy
from backup_platform.policies.queries import SHOWN_PLACES, places_of, with_next_run
from backup_platform.policies.registry import SECTIONS, SETTINGS, settings_of
from backup_platform.policies.services import delete_policy
from backup_platform.policies.templates import TEMPLATES
from backup_platform.retention.announcing import announcement
from backup_platform.tenants.access import may

STATE_COLOURS = {"paused": "warning", "applies": "success", "assigned to nobody": "default", "by hand only": "info"}
ABOUT = ["tenant", "name", "description"]
CONDITIONS = {
    "schedule__cron": "schedule__kind == 'cron'",
    "schedule__every_minutes": "schedule__kind == 'interval'",
}


def sees_places(request):
    """Whether this person may see where policies are assigned: members limited to some groups see no others' names."""
    return may(asking(request), "view", "policies.Assignment")


def setting_fieldsets():
    """A heading for every section, with its settings' fields."""
    return [
        (section.label, {"fields": [FIELD_NAMES[one.name] for one in settings_of(section.name)],
                         "description": section.help})
        for section in SECTIONS
    ]  # fmt: skip


@admin.register(Policy)
class PolicyAdmin(PolicyActs):
    """Policies. Every change goes through the service: checked, audited, planned again."""

    allowed = frozenset({"view", "add", "change", "delete"})
    form = PolicyForm
    list_display = ["name", "state_shown", "places_shown", "machines_shown", "next_shown", "tenant"]
    list_filter = [TENANT_FILTER]
    search_fields = ["name", "description"]
    list_select_related = ["tenant"]
    actions_detail = ["assign_action", "effective_action", "retention_action",
                      {"title": "More", "icon": "more_horiz", "items": ["pause_action", "copy_action"]}]  # fmt: skip
    change_form_outer_before_template = "policies/panel.html"
    change_form_after_template = "policies/retention_button.html"
    conditional_fields = CONDITIONS
    change_form_show_cancel_button = True

    class Media:
        css = {"all": ["policies/policies.css"]}

    def get_queryset(self, request):
        """With the first next run of each, by sub-query."""
        return with_next_run(super().get_queryset(request))

    def get_changelist_instance(self, request):
        """The page's policies, with where they are assigned: one query for all of them."""
        found = super().get_changelist_instance(request)
        places = places_of(found.result_list) if sees_places(request) else {}
        for policy in found.result_list:
            policy.places = places.get(policy.pk, [])
        return found

    def get_fieldsets(self, request, obj=None):
        """Who may only look gets the panel with all values, not a form."""
        about = [name for name in ABOUT if name != "tenant" or obj is not None or asking(request).tenant is None]
        if obj is not None and not self.has_change_permission(request, obj):
            return [(None, {"fields": about})]
        return [(None, {"fields": [*about, "seen_version"]}), *setting_fieldsets()]

    def get_readonly_fields(self, request, obj=None):
        """A policy stays in its tenant."""
        return ["tenant"] if obj else []

    def get_form(self, request, obj=None, change=False, **kwargs):
        """The form, knowing who asks and from which template a new policy starts."""
        template = TEMPLATES.get(request.GET.get("template", ""))
        declared = {"asker": asking(request), "start": template.settings if template else {}}
        declared |= {field: placeholder(field) for field in FIELD_NAMES.values()}
        kwargs["form"] = type("PolicyForm", (PolicyForm,), declared)
        return super().get_form(request, obj, change=change, **kwargs)

    def get_changeform_initial_data(self, request):
        """A template gives name and description too."""
        template = TEMPLATES.get(request.GET.get("template", ""))
        return {"name": template.label, "description": template.description} if template else {}

    def render_change_form(self, request, context, add=False, change=False, form_url="", obj=None):
        """With templates to start from, or with the panel: assignments and next runs."""
        if add:
            context["templates"] = TEMPLATES.values()
            context["chosen"] = request.GET.get("template", "")
        elif obj is not None:
            context.update(
                policy_panel(obj, may_assign=self.has_change_permission(request, obj), may_see=sees_places(request))
            )
        return super().render_change_form(request, context, add, change, form_url, obj)

    def save_model(self, request, obj, form, change):
        """The form has saved it by the service; what is odd is said here."""
        for warning in form.warnings:
            messages.warning(request, f"{SETTINGS[warning.name].label}: {warning.sentence}")
        if change and form.instance.settings != form.saved.settings and (told := announcement(form.saved)):
            messages.warning(request, told)

    def response_add(self, request, obj, post_url_continue=None):
        """To the policy's own page, where it is assigned: until then it does nothing."""
        if "_addanother" in request.POST:
            return super().response_add(request, obj, post_url_continue)
        messages.success(request, f"{obj.name} was made. It applies to nobody yet: assign it to machines below.")
        return HttpResponseRedirect(reverse("admin:policies_policy_change", args=[obj.pk]))

    def delete_model(self, request, obj):
        """Delete by the service."""
        delete_policy(obj, by=asking(request))

    def delete_view(self, request, object_id, extra_context=None):
        """Django's page; a refusal is told on the policy's own page."""
        try:
            return super().delete_view(request, object_id, extra_context)
        except PolicyRefused as refused:
            messages.error(request, str(refused))
            return HttpResponseRedirect(reverse("admin:policies_policy_change", args=[object_id]))

    def get_deleted_objects(self, objs, request):
        """What goes along is named; assignments and plans need no right of their own."""
        names, counts, _, protected = super().get_deleted_objects(objs, request)
        return names, counts, set(), protected

    def log_deletions(self, request, queryset):
        """The audit has it; Django's own log would be a second one."""

    @display(description="State", label=STATE_COLOURS)
    def state_shown(self, policy):
        if policy.paused_at:
            return "paused"
        if not policy.places and not policy.machine_count:
            return "assigned to nobody"
        return "applies" if policy.settings.get("schedule.kind", "none") != "none" else "by hand only"

    @display(description="Assigned to")
    def places_shown(self, policy):
        shown = ", ".join(policy.places[:SHOWN_PLACES])
        more = len(policy.places) - SHOWN_PLACES
        return f"{shown} and {more} more" if more > 0 else shown or showing.NOTHING

    @display(description="Machines")
    def machines_shown(self, policy):
        return showing.number(policy.machine_count or 0)

    @display(description="Next run", ordering="next_run_at")
    def next_shown(self, policy):
        return showing.NOTHING if policy.next_run_at is None else f"{policy.next_run_at:%Y-%m-%d %H:%M} UTC"
