"""A form field for each kind of setting. What a person wrote is turned into the setting's value and checked there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from backup_platform.policies import calendar_lines as lines
from backup_platform.policies.errors import SettingRefused
from backup_platform.policies.models import Policy
from backup_platform.policies.registry import SETTINGS, Kind, Setting

LINE_KINDS: dict[Kind, tuple[Callable[[str], Any], Callable[[Any], str]]] = {
    Kind.LINES: (str, str),
    Kind.WINDOWS: (lines.read_window, lines.window_shown),
    Kind.BLACKOUTS: (lines.read_blackout, lines.blackout_shown),
    Kind.BANDWIDTH: (lines.read_bandwidth, lines.bandwidth_shown),
}
MONOSPACE = {"spellcheck": "false", "autocomplete": "off", "class": "sr-mono"}


def field_name(setting_name):
    """A setting's name as a form's field: templates and scripts cannot read names with dots."""
    return setting_name.replace(".", "__")


FIELD_NAMES = {name: field_name(name) for name in SETTINGS}


def placeholder(field):
    """Declared so that Django's form factory knows the name; the form puts the real field in its place."""
    return forms.Field(required=False, label=field)


def _checked(setting, value):
    try:
        return setting.check(value)
    except SettingRefused as fault:
        raise forms.ValidationError(str(fault)) from None


class TextSetting(forms.CharField):
    """One line; empty is None where the setting may be empty."""

    def __init__(self, setting, **options):
        self.setting = setting
        super().__init__(required=False, widget=UnfoldAdminTextInputWidget(attrs=MONOSPACE), **options)

    def clean(self, value):
        text = super().clean(value)
        return _checked(self.setting, text or (None if self.setting.may_be_empty else text))


class SizeSetting(TextSetting):
    """Bytes, written as 500 MiB."""

    def prepare_value(self, value):
        return lines.size_shown(value) if isinstance(value, int) else value

    def clean(self, value):
        text = forms.CharField.clean(self, value)
        try:
            return _checked(self.setting, lines.read_size(text) if text else None)
        except SettingRefused as fault:
            raise forms.ValidationError(str(fault)) from None


class LinesSetting(forms.CharField):
    """A list, one entry a line."""

    def __init__(self, setting, **options):
        self.setting = setting
        self.read_one, self.show_one = LINE_KINDS[setting.kind]
        rows = 6 if setting.kind == Kind.LINES else 3
        super().__init__(required=False, strip=False, widget=_textarea(rows), **options)

    def prepare_value(self, value):
        return "\n".join(map(self.show_one, value)) if isinstance(value, list) else value

    def clean(self, value):
        text = super().clean(value)
        try:
            return _checked(self.setting, lines.read_lines(text, self.read_one))
        except SettingRefused as fault:
            raise forms.ValidationError(str(fault)) from None

    def has_changed(self, initial, data):
        return super().has_changed(self.prepare_value(initial), "\n".join((data or "").splitlines()))


def _textarea(rows):
    return UnfoldAdminTextareaWidget(attrs={"rows": rows, **MONOSPACE})


class NumberSetting(forms.IntegerField):
    """A whole number; empty is None where the setting may be empty."""

    def __init__(self, setting, **options):
        self.setting = setting
        super().__init__(required=not setting.may_be_empty, widget=UnfoldAdminIntegerFieldWidget(), **options)

    def clean(self, value):
        return _checked(self.setting, super().clean(value))


def _policies(leave_out):
    """The policies that may be waited for, looked up when the form is shown: the request's scope narrows them."""
    rows = Policy.objects.exclude(pk=leave_out).order_by("name").values_list("pk", "name")
    return [("", "Follows nobody"), *((str(pk), name) for pk, name in rows)]


def field_of(setting: Setting, *, policy_id=None):
    """The field that asks for a setting."""
    texts = {"label": _label(setting), "help_text": setting.help}
    match setting.kind:
        case Kind.YES_NO:
            return forms.BooleanField(required=False, widget=UnfoldBooleanSwitchWidget(), **texts)
        case Kind.CHOICE:
            return forms.ChoiceField(choices=setting.choices, widget=UnfoldAdminSelectWidget(), **texts)
        case Kind.POLICY:
            return PolicySetting(required=False, choices=lambda: _policies(policy_id), **texts)
        case Kind.NUMBER:
            return NumberSetting(setting, **texts)
        case Kind.SIZE:
            return SizeSetting(setting, **texts | {"help_text": f"{setting.help} Written as 500 MB or 2 GiB."})
        case Kind.LINES | Kind.WINDOWS | Kind.BLACKOUTS | Kind.BANDWIDTH:
            return LinesSetting(setting, **texts)
    return TextSetting(setting, **texts)


class PolicySetting(forms.ChoiceField):
    """Another policy of the same tenant; empty is None."""

    widget = UnfoldAdminSelectWidget

    def clean(self, value):
        return super().clean(value) or None


def _label(setting):
    return f"{setting.label} ({setting.unit})" if setting.unit and setting.kind == Kind.NUMBER else setting.label


def value_shown(name, value):
    """A setting's value in words, for tables and hints."""
    setting = SETTINGS[name]
    if value is None or value in ([], ""):
        return "none"
    if name.startswith("retention.keep_") and value == 0:
        return "not used"  # a nought would read as: keep none
    if setting.kind == Kind.YES_NO:
        return "yes" if value else "no"
    if setting.kind == Kind.CHOICE:
        return dict(setting.choices).get(value, value)
    if setting.kind == Kind.SIZE:
        return lines.size_shown(value)
    if setting.kind in LINE_KINDS:
        return "\n".join(map(LINE_KINDS[setting.kind][1], value))
    if setting.kind == Kind.POLICY:
        return Policy.objects.filter(pk=value).values_list("name", flat=True).first() or "a policy that is gone"
    return f"{value} {setting.unit}".rstrip()
