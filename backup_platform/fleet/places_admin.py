"""What a machine's page offers about its groups, tags and policies."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.decorators import action

from backup_platform.console.site import actor_of, asking
from backup_platform.fleet.groups import GroupRefused
from backup_platform.fleet.models import Machine, MachineGroup
from backup_platform.fleet.places import set_groups, set_tags


class PlacesForm(forms.Form):
    """A machine's groups and tags."""

    groups = forms.ModelMultipleChoiceField(
        queryset=MachineGroup.objects.none(), required=False, widget=forms.CheckboxSelectMultiple
    )
    tags = forms.CharField(
        required=False, max_length=2000, help_text="Words to find it by, with spaces between them.",
        widget=forms.TextInput(attrs={"class": "sr-select"}),
    )  # fmt: skip

    def __init__(self, machine: Machine, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["groups"]
        field.queryset = MachineGroup.objects.filter(tenant_id=machine.tenant_id).order_by("name")


class MachinePlaces:
    """What groups and policies add to a machine's page. Mixed into the page of machines."""

    actions_detail_of_places = ("places", "policies")

    def has_places_permission(self: Any, request: HttpRequest, object_id: Any = None) -> bool:
        """Whether this person may put machines into groups."""
        actor = actor_of(request)
        return bool(self.may(request, "change") and actor and not actor.is_limited)

    @action(description="Policies", icon="rule_settings")  # type: ignore[untyped-decorator] # Unfold has no types
    def policies(self: Any, request: HttpRequest, object_id: Any) -> HttpResponse:
        """To the page of everything that applies to it."""
        return HttpResponseRedirect(reverse("admin:policies_policy_on_machine", args=[object_id]))

    @action(description="Groups and tags", icon="workspaces", permissions=["places"])  # type: ignore[untyped-decorator]
    def places(self: Any, request: HttpRequest, object_id: Any) -> HttpResponse:
        """Ask for groups and tags, and set them."""
        machine = self.get_object(request, object_id)
        if machine is None:
            raise Http404
        back = reverse("admin:fleet_machine_change", args=[machine.pk])
        start = {"groups": list(machine.groups.values_list("pk", flat=True)), "tags": " ".join(machine.tags)}
        form = PlacesForm(machine, request.POST or None, initial=start)
        if request.method == "POST" and form.is_valid() and _set_places(form, machine, asking(request)):
            messages.success(request, "Groups and tags were set.")
            return HttpResponseRedirect(back)
        context = {**self.admin_site.each_context(request), "title": f"Groups and tags of {machine.name}",
                   "opts": self.opts, "form": form, "back": back}  # fmt: skip
        return TemplateResponse(request, "fleet/places.html", context)


def _set_places(form: PlacesForm, machine: Machine, asker: Any) -> bool:
    try:
        set_tags(machine, form.cleaned_data["tags"].split(), by=asker)
        set_groups(machine, form.cleaned_data["groups"], by=asker)
    except GroupRefused as refused:
        form.add_error(refused.field if refused.field in form.fields else None, str(refused))
        return False
    return True
