"""Forms of the pages about people and roles. They check shapes; the rules are the services' (people.py)."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.apps import apps
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminEmailInputWidget,
    UnfoldAdminSelect2MultipleWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from backup_platform.tenants.models import CustomRole, Member, MemberGroup, Role
from backup_platform.tenants.permissions import PERMISSIONS, known

SHOWN = 500


def role_choices() -> list[Any]:
    """The built-in roles and the custom roles in scope, under two headings."""
    own = [(str(role.pk), str(role)) for role in CustomRole.objects.order_by("name")[:SHOWN]]
    return [("Built in", Role.choices), *([("Made here", own)] if own else [])]


class PlaceForm(forms.ModelForm):
    """A member's role and limits."""

    place = forms.ChoiceField(label="Role", widget=UnfoldAdminSelectWidget)
    limits: Any = forms.ModelMultipleChoiceField(
        label="Limited to machine groups",
        queryset=None,
        required=False,
        widget=UnfoldAdminSelect2MultipleWidget,
        help_text="Sees and touches the machines of these groups only. None chosen: all machines of the tenant.",
    )

    class Meta:
        model = Member
        fields: tuple[str, ...] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        fields: dict[str, Any] = self.fields
        fields["place"].choices = role_choices()
        fields["limits"].queryset = apps.get_model("fleet", "MachineGroup").objects.order_by("name")
        if self.instance.pk:
            self.fields["place"].initial = str(self.instance.custom_role_id or self.instance.role)
            mine = MemberGroup.objects.filter(member=self.instance).values_list("group_id", flat=True)
            self.fields["limits"].initial = list(mine)

    def chosen(self) -> dict[str, Any]:
        """What `place_member` and `invite` take: role, custom_role, groups."""
        value = self.cleaned_data["place"]
        groups = list(self.cleaned_data["limits"])
        if value in Role.values:
            return {"role": Role(value), "custom_role": None, "groups": groups}
        return {"role": Role.VIEWER, "custom_role": CustomRole.objects.get(pk=UUID(value)), "groups": groups}


class NewPlaceForm(PlaceForm):
    """Platform staff give somebody who has an account a place in a tenant."""

    class Meta(PlaceForm.Meta):
        fields = ("user", "tenant")


class InvitationForm(PlaceForm):
    """A tenant's administrator adds a person."""

    username = forms.CharField(
        label="Name to sign in with",
        max_length=150,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
        help_text="Nobody else on this platform may have it: name.company is a good habit.",
    )
    email = forms.EmailField(label="E-mail address", required=False, widget=UnfoldAdminEmailInputWidget)


class RoleForm(forms.ModelForm):
    """A custom role: a checkbox for each permission, in plain words."""

    rights = forms.MultipleChoiceField(
        label="May",
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="Nobody can give a right that they do not have themselves.",
    )

    class Meta:
        model = CustomRole
        fields: tuple[str, ...] = ("name",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rights: Any = self.fields["rights"]
        rights.choices = [(one.name, f"{one.subject}: {one.words}") for one in PERMISSIONS.values()]
        if self.instance.pk:
            self.fields["rights"].initial = sorted(known(self.instance.permissions))


class NewRoleForm(RoleForm):
    """The same, for platform staff who see every tenant and must say which one it is for."""

    class Meta(RoleForm.Meta):
        fields = ("tenant", "name")
