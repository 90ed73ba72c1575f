"""The forms for policies and assignments. Saving is part of checking: only the service knows every rule."""

from __future__ import annotations

from typing import Any

from django import forms
from unfold.widgets import UnfoldBooleanSwitchWidget

from backup_platform.policies.admin.fields import FIELD_NAMES, field_of, value_shown
from backup_platform.policies.assignments import assign
from backup_platform.policies.effective import inherited_at
from backup_platform.policies.errors import PolicyMissing, PolicyRefused
from backup_platform.policies.models import Assignment, Policy
from backup_platform.policies.registry import SETTINGS, check_settings, complete
from backup_platform.policies.services import change_policy, create_policy

OWN = "own__"
LABELS = {one: SETTINGS[name].label for name, one in FIELD_NAMES.items()}


class SavingForm(forms.ModelForm):
    """A form whose `save_by_service` is called once everything else is right; its faults appear at their fields."""

    asker: Any = None
    saved: Any = None
    warnings: Any = ()

    def save_by_service(self) -> Any:
        """Save, and return the row. Raises `PolicyRefused`, `PolicyMissing`."""
        raise NotImplementedError

    def clean(self):
        super().clean()
        if not self.errors:
            try:
                self.saved = self.save_by_service()
            except PolicyRefused as refused:
                for fault in refused.faults:
                    self._tell(fault)
            except PolicyMissing as missing:
                self.add_error(None, str(missing))
        return self.cleaned_data

    def _tell(self, fault):
        field = FIELD_NAMES.get(fault.name, fault.name)
        self.add_error(field if field in self.fields else None, fault.sentence)

    def validate_unique(self):
        """The service says it, in its own words."""

    def _post_clean(self):
        """The service has saved already; Django shall neither copy values nor check them again."""

    def save(self, commit=True):
        """What the service saved."""
        self.save_m2m: Any = lambda: None
        return self.saved


class PolicyForm(SavingForm):
    """A policy: every setting in a field of its own."""

    start: Any = {}
    """The settings that a new policy begins with: a template's."""
    seen_version = forms.IntegerField(required=False, widget=forms.HiddenInput())

    class Meta:
        model = Policy
        fields = ("tenant", "name", "description")

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.is_new = self.instance.created_at is None
        start = complete(self.start if self.is_new else self.instance.settings)
        for name, setting in SETTINGS.items():
            self.fields[FIELD_NAMES[name]] = field_of(setting, policy_id=self.instance.pk)
            self.initial.setdefault(FIELD_NAMES[name], start[name])
        self.initial["seen_version"] = self.instance.version

    def settings(self):
        """What was written, without what is default anyway."""
        values = {name: self.cleaned_data[field] for name, field in FIELD_NAMES.items()}
        return {name: value for name, value in values.items() if value != SETTINGS[name].default}

    def save_by_service(self):
        settings = self.settings()
        self.warnings = check_settings(settings).warnings
        facts = {"name": self.cleaned_data["name"], "description": self.cleaned_data.get("description") or ""}
        if self.is_new:
            tenant = self.cleaned_data.get("tenant") or self.asker.tenant
            return create_policy(tenant, facts["name"], settings, by=self.asker, description=facts["description"])
        seen = self.cleaned_data.get("seen_version")
        return change_policy(self.instance, by=self.asker, settings=settings, seen_version=seen, **facts)


class PlaceForm(SavingForm):
    """To whom a policy applies, before anything is said about its settings there."""

    class Meta:
        model = Assignment
        fields = ("policy", "group", "machine", "excluded")

    def save_by_service(self):
        policy, group, machine = (self.cleaned_data[name] for name in ("policy", "group", "machine"))
        standing = Assignment.objects.filter(policy=policy, group=group, machine=machine)
        if standing.exists():
            raise PolicyRefused("This policy is assigned there already; open that assignment to change it.")
        return assign(policy, by=self.asker, group=group, machine=machine, excluded=self.cleaned_data["excluded"])


class OverridesForm(SavingForm):
    """What is different at one place: each setting with a switch that says whether it has a value of its own here."""

    class Meta:
        model = Assignment
        fields = ("excluded",)

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        policy, own = self.instance.policy, self.instance.overrides
        inherited = inherited_at(self.instance)
        for name, setting in SETTINGS.items():
            field = FIELD_NAMES[name]
            self.fields[OWN + field] = forms.BooleanField(
                required=False, label="Own value", widget=UnfoldBooleanSwitchWidget()
            )
            self.fields[field] = field_of(setting, policy_id=policy.pk)
            above = inherited[name]
            self.fields[field].help_text += f" Otherwise: {value_shown(name, above.value)} ({above.origin})."
            self.initial.setdefault(OWN + field, name in own)
            self.initial.setdefault(field, own.get(name, above.value))

    def overrides(self):
        """The settings whose switch is on, and those that were changed without touching the switch."""
        found = {}
        for name, field in FIELD_NAMES.items():
            touched = field in self.changed_data and not self.initial[OWN + field]
            if self.cleaned_data[OWN + field] or touched:
                found[name] = self.cleaned_data[field]
        return found

    def save_by_service(self):
        row = self.instance
        overrides = self.overrides()
        self.warnings = check_settings(overrides, base=complete(row.policy.settings)).warnings
        excluded = self.cleaned_data["excluded"]
        return assign(row.policy, by=self.asker, group=row.group, machine=row.machine, overrides=overrides,
                      excluded=excluded)  # fmt: skip
