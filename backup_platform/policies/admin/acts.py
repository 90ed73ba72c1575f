"""What a policy's page offers beyond its form: pages of what counts where, assigning, copying."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from unfold.decorators import action

from backup_platform.console.model_admin import TenantModelAdmin
from backup_platform.console.site import asking
from backup_platform.policies.admin.panels import effective_page, machine_page
from backup_platform.policies.errors import PolicyRefused
from backup_platform.policies.services import copy_policy


class PolicyActs(TenantModelAdmin):
    """What the page of policies stands on."""

    def get_urls(self):
        """The pages of what counts where, before Django's own."""
        wrap = self.admin_site.admin_view
        return [
            path("on/<uuid:machine_id>/", wrap(self.on_machine), name="policies_policy_on_machine"),
            path("<uuid:policy_id>/effective/", wrap(self.effective), name="policies_policy_effective"),
            *super().get_urls(),
        ]

    def on_machine(self, request, machine_id):
        """Everything that applies to one machine."""
        return machine_page(self, request, machine_id)

    def effective(self, request, policy_id):
        """A policy as it counts on a machine that one chooses."""
        policy = self.get_object(request, str(policy_id))
        if policy is None or not self.has_view_permission(request, policy):
            raise Http404
        return effective_page(self, request, policy)

    def has_edit_permission(self, request, object_id=None):
        """Whether this person may edit policies."""
        return self.may(request, "change")

    @action(description="Assign", icon="add_link", permissions=["edit"])
    def assign_action(self, request, object_id):
        """To the page that assigns this policy."""
        return HttpResponseRedirect(f"{reverse('admin:policies_assignment_add')}?policy={object_id}")

    @action(description="Effective settings", icon="layers")
    def effective_action(self, request, object_id):
        """To the page of what counts where."""
        return HttpResponseRedirect(reverse("admin:policies_policy_effective", args=[object_id]))

    @action(description="Copy", icon="content_copy", permissions=["edit"])
    def copy_action(self, request, object_id):
        """Copy under a free name, and open the copy. Only a POST changes anything."""
        policy = self.get_object(request, object_id)
        if policy is None:
            raise Http404
        if request.method != "POST":
            context = {**self.admin_site.each_context(request), "title": f"Copy {policy.name}?", "opts": self.opts,
                       "policy": policy, "name": f"{policy.name[:90]} (copy)",
                       "back": reverse("admin:policies_policy_change", args=[policy.pk])}  # fmt: skip
            return TemplateResponse(request, "policies/copy.html", context)
        try:
            made = copy_policy(policy, by=asking(request), name=request.POST.get("name", ""))
        except PolicyRefused as refused:
            messages.error(request, str(refused))
            return HttpResponseRedirect(request.path)
        messages.success(request, f"{made.name} was made. It applies to nobody yet.")
        return HttpResponseRedirect(reverse("admin:policies_policy_change", args=[made.pk]))
