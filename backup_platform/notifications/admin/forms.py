"""The forms of the pages. They ask for secrets and never show one."""

from __future__ import annotations

from datetime import timedelta

from django import forms
from django.utils import timezone
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from backup_platform.notifications import channels
from backup_platform.notifications.models import Channel, Snooze
from backup_platform.notifications.words import AlertKind, ChannelKind

HOURS = ((1, "1 hour"), (4, "4 hours"), (24, "1 day"), (72, "3 days"), (168, "1 week"), (720, "30 days"))
ADDRESS_HELP = (
    "E-mail: addresses, one a line. Webhook: https://…; it is signed with a key that is shown once. Another service:"
    " its apprise address. Webhook and service addresses are kept encrypted and never shown again."
)


class ChannelForm(forms.ModelForm):
    """A channel: where it leads (kept secret where it is one), and what it wants to hear."""

    address = forms.CharField(
        label="Where to", required=False, strip=True, max_length=4000, help_text=ADDRESS_HELP,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2, "autocomplete": "off", "spellcheck": "false"}),
    )  # fmt: skip
    kinds = forms.MultipleChoiceField(
        label="Kinds of alert", required=False, choices=AlertKind.choices,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="None chosen: all kinds, those of later releases too.",
    )  # fmt: skip
    whose = forms.ChoiceField(
        label="Whose", required=False, choices=[("", "Everybody's"), ("me", "Only mine")],
        widget=UnfoldAdminSelectWidget, help_text="Yours is used only while you are a member of this tenant.",
    )  # fmt: skip

    class Meta:
        model = Channel
        fields = ["tenant", "name", "kind", "lowest_level", "kinds", "tell_recovery", "remind_hours", "every_tenant"]
        labels = {"tell_recovery": "Also its end", "remind_hours": "Remind after hours", "every_tenant": "All tenants"}

    fresh_key = ""
    """A webhook's signing key that was made here, to be shown once."""

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        existing = not self.instance._state.adding  # noqa: SLF001 - Django's own way to tell
        if existing:
            self.fields.pop("whose", None)
            self.fields["address"].help_text += " Leave it empty to keep what is there."
            if self.instance.kind == ChannelKind.EMAIL:
                self.fields["address"].initial = "\n".join(self.instance.settings.get("to", []))

    def clean(self):
        """Check where it leads; the sentence of a refusal stands at that field."""
        cleaned = super().clean() or self.cleaned_data
        if self.errors:
            return cleaned
        self.instance.kind = cleaned.get("kind") or self.instance.kind
        try:
            self.fresh_key = channels.set_way(self.instance, cleaned.get("address", ""))
        except channels.ChannelRefused as refusal:
            self.add_error("address", str(refusal))
        if cleaned.get("every_tenant") and cleaned.get("tenant"):
            self.add_error("every_tenant", "Only a channel of the platform's own (without a tenant) hears of all.")
        return cleaned


class ForForm(forms.Form):
    """For how long, and why."""

    hours = forms.TypedChoiceField(
        label="For", choices=HOURS, coerce=int, initial=24, widget=UnfoldAdminSelectWidget()
    )  # fmt: skip
    reason = forms.CharField(
        label="Why", required=False, max_length=200, widget=UnfoldAdminTextInputWidget(),
        help_text="For the others who wonder why it is quiet.",
    )  # fmt: skip

    def until(self):
        """When it is over."""
        return timezone.now() + timedelta(hours=self.cleaned_data["hours"])


class SnoozeAlertForm(ForForm):
    """Snoozing from an alert: it alone, or all of its kind."""

    reach = forms.ChoiceField(
        label="What",
        choices=[("subject", "This kind, for the same machine or thing"), ("kind", "This kind, for everything")],
        widget=UnfoldAdminSelectWidget(),
    )
    field_order = ("reach", "hours", "reason")


class SnoozeForm(forms.ModelForm):
    """A snooze of a kind, or a maintenance window."""

    hours = forms.TypedChoiceField(label="For", choices=HOURS, coerce=int, initial=4, widget=UnfoldAdminSelectWidget())

    class Meta:
        model = Snooze
        fields = ["tenant", "kind", "reason"]
