"""What a policy's page offers beyond its form: pages of what counts where, assigning, copying."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from unfold.decorators import action

from backup_platform.console.model_admin import TenantModelAdmin
from backup_platform.console.site import asking
from backup_platform.jobs.errors import JobRefused
from backup_platform.jobs.people import pause_policy, resume_policy, run_now
from backup_platform.policies.admin.panels import chosen_machine, effective_page, machine_page
from backup_platform.policies.errors import PolicyRefused
from backup_platform.policies.services import copy_policy
from backup_platform.tenants.access import can


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
        return self.run_here(request, policy) if request.method == "POST" else effective_page(self, request, policy)

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

    @action(description="Retention preview", icon="auto_delete")
    def retention_action(self, request, object_id):
        """To the page of what this policy's rules, or others, would drop."""
        return HttpResponseRedirect(f"{reverse('admin:retention_expiry_preview')}?policy={object_id}")

    def has_run_permission(self, request, object_id=None):
        """Whether this person may start backups."""
        return can(asking(request), "jobs.run")

    @action(description="Pause or resume", icon="pause_circle", permissions=["edit"])
    def pause_action(self, request, object_id):
        """Ask, then pause or resume. Only a POST changes anything."""
        policy = self.get_object(request, object_id)
        if policy is None:
            raise Http404
        back = reverse("admin:policies_policy_change", args=[policy.pk])
        if request.method != "POST":
            context = {**self.admin_site.each_context(request), "opts": self.opts, "policy": policy, "back": back,
                       "title": f"{'Resume' if policy.paused_at else 'Pause'} {policy.name}?"}  # fmt: skip
            return TemplateResponse(request, "policies/pause.html", context)
        change = resume_policy if policy.paused_at else pause_policy
        change(policy, asking(request).name)
        messages.success(request, f"{policy.name} {'runs again' if policy.paused_at else 'is paused'}.")
        return HttpResponseRedirect(back)

    def run_here(self, request, policy):
        """Start a backup now on the machine that was chosen, and go to its job."""
        if not self.has_run_permission(request):
            raise PermissionDenied
        machine = chosen_machine(policy, request.POST.get("machine"))
        if machine is None:
            raise Http404
        try:
            job = run_now(policy, machine, asking(request).name)
        except JobRefused as refused:
            messages.error(request, str(refused))
            return HttpResponseRedirect(f"{request.path}?machine={machine.pk}")
        if job is None:
            messages.info(request, f"{policy.name} is running or waiting on {machine.name} already.")
            return HttpResponseRedirect(f"{request.path}?machine={machine.pk}")
        messages.success(request, f"{machine.name} is asked to run {policy.name}.")
        return HttpResponseRedirect(reverse("admin:jobs_job_change", args=[job]))

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
