"""Alerts."""

from __future__ import annotations

from django.contrib import admin, messages
from django.db.models import F
from unfold.decorators import action, display

from backup_platform.console import showing
from backup_platform.console.model_admin import MACHINE_FILTER, TENANT_FILTER
from backup_platform.console.site import asking
from backup_platform.notifications import acting
from backup_platform.notifications.admin.asking import LEVEL_COLOURS, AskingAdmin
from backup_platform.notifications.admin.forms import SnoozeAlertForm
from backup_platform.notifications.models import Alert

STATE_COLOURS = {"open": "danger", "acknowledged": "warning", "over": "success"}


class OverFilter(admin.SimpleListFilter):
    """Open ones, those that somebody looks after, and those that are over."""

    title = "state"
    parameter_name = "standing"

    def lookups(self, request, model_admin):
        """What can be chosen."""
        return [("open", "Open"), ("acknowledged", "Acknowledged"), ("over", "Over")]

    def queryset(self, request, queryset):
        """The chosen ones."""
        chosen = {
            "open": {"resolved_at__isnull": True},
            "acknowledged": {"resolved_at__isnull": True, "acknowledged_at__isnull": False},
            "over": {"resolved_at__isnull": False},
        }
        return queryset.filter(**chosen.get(self.value() or "", {}))


@admin.register(Alert)
class AlertAdmin(AskingAdmin):
    """What is wrong, open ones first, the worst of them at the top."""

    allowed = frozenset({"view", "change"})
    list_display = ["level_shown", "text_shown", "state_shown", "opened_shown", "last_shown", "count", "tenant"]
    list_display_links = ["text_shown"]
    list_filter = [OverFilter, "level", "kind", MACHINE_FILTER, TENANT_FILTER]
    list_select_related = ["tenant"]
    search_fields = ["text"]
    actions_detail = ["acknowledge", "snooze", "close"]
    fieldsets = [
        (
            None,
            {"fields": ["text_shown", "advice_shown", "level_shown", "state_shown", "kind_shown", "machine", "tenant"]},
        ),
        ("Times", {"fields": ["opened_shown", "last_shown", "count", "acknowledged_shown", "over_shown"]}),
        ("Who was told", {"fields": ["told_shown"]}),
    ]

    def get_ordering(self, request):
        """Open before over, then the worst, then the newest."""
        return [F("resolved_at").desc(nulls_first=True), "-level", "-opened_at"]

    def has_change_permission(self, request, obj=None):
        """No field can be edited; the right to change is the right to acknowledge and to snooze."""
        return False

    @action(description="Acknowledge", icon="done_all", permissions=["act"])
    def acknowledge(self, request, object_id):
        """Say that somebody looks after it."""
        alert = self.found(request, object_id)
        if request.method != "POST":
            lines = [alert.text, "No more reminders are sent. That it is over will still be told."]
            return self.ask(request, alert, "Acknowledge this alert?", lines, "Acknowledge")
        if acting.acknowledge(alert, actor=self.person(request)):
            messages.success(request, "The others see that you look after it.")
        else:
            messages.info(request, "It was acknowledged before, or is over.")
        return self.back_to(alert)

    @action(description="Close", icon="check", permissions=["act"])
    def close(self, request, object_id):
        """Say that it is over."""
        alert = self.found(request, object_id)
        if request.method != "POST":
            lines = [
                alert.text,
                "Most alerts close by themselves. What is still wrong opens again within a minute.",
            ]
            return self.ask(request, alert, "Close this alert?", lines, "Close")
        if acting.close_alert(alert, actor=self.person(request)):
            messages.success(request, "It is closed.")
        else:
            messages.info(request, "It was over before.")
        return self.back_to(alert)

    @action(description="Snooze", icon="snooze", permissions=["act"])
    def snooze(self, request, object_id):
        """Tell nobody for a while."""
        alert = self.found(request, object_id)
        form = SnoozeAlertForm(request.POST or None)
        if request.method != "POST" or not form.is_valid():
            lines = [alert.text, "It stays on this page. If it is still true afterwards, it is told then."]
            return self.ask(request, alert, "Snooze such alerts?", lines, "Snooze", form=form)
        try:
            made = acting.snooze_alert(alert, by=asking(request), until=form.until(),
                                       whole_kind=form.cleaned_data["reach"] == "kind",
                                       reason=form.cleaned_data["reason"])  # fmt: skip
        except acting.ActRefused as refused:
            messages.error(request, str(refused))
        else:
            messages.success(request, f"Nobody is told until {made.until:%Y-%m-%d %H:%M} UTC.")
        return self.back_to(alert)

    @display(description="What is wrong")
    def text_shown(self, alert):
        return alert.text

    @display(description="What to do")
    def advice_shown(self, alert):
        return alert.advice or showing.NOTHING

    @display(description="Level", ordering="level", label=LEVEL_COLOURS)
    def level_shown(self, alert):
        return alert.get_level_display()

    @display(description="Kind", ordering="kind")
    def kind_shown(self, alert):
        return alert.get_kind_display()

    @display(description="State", label=STATE_COLOURS)
    def state_shown(self, alert):
        return "over" if alert.resolved_at else "acknowledged" if alert.acknowledged_at else "open"

    @display(description="Since", ordering="opened_at")
    def opened_shown(self, alert):
        return showing.moment(alert.opened_at)

    @display(description="Last seen", ordering="last_seen_at")
    def last_shown(self, alert):
        return showing.moment(alert.last_seen_at)

    @display(description="Acknowledged")
    def acknowledged_shown(self, alert):
        if not alert.acknowledged_at:
            return showing.NOTHING
        return f"by {alert.acknowledged_by}, {showing.ago(alert.acknowledged_at)}"

    @display(description="Over")
    def over_shown(self, alert):
        if not alert.resolved_at:
            return "not yet"
        return f"{showing.ago(alert.resolved_at)}. {alert.resolution}".strip()

    @display(description="Deliveries")
    def told_shown(self, alert):
        told = alert.deliveries.select_related("channel").order_by("pk")[:50]
        said = [
            f"{row.channel.name}: {row.get_event_display().lower()}, {row.get_state_display().lower()}" for row in told
        ]
        if said:
            return "; ".join(said)
        return (
            "Nobody yet: it waits for a channel that wants it, or is snoozed."
            if alert.pending
            else "No channel wanted it."
        )
