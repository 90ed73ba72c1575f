"""The delivery log, and how the platform's own watch went."""

from __future__ import annotations

from django.contrib import admin, messages
from unfold.decorators import action, display

from backup_platform.console import showing
from backup_platform.console.model_admin import TENANT_FILTER, PlatformModelAdmin
from backup_platform.notifications import acting
from backup_platform.notifications.admin.asking import AskingAdmin
from backup_platform.notifications.models import Delivery, Turn
from backup_platform.notifications.words import DeliveryState

STATE_COLOURS = {
    DeliveryState.QUEUED.label: "warning",
    DeliveryState.SENDING.label: "info",
    DeliveryState.DELIVERED.label: "success",
    DeliveryState.FAILED.label: "danger",
}


@admin.register(Delivery)
class DeliveryAdmin(AskingAdmin):
    """Who was told what, when, and why not."""

    allowed = frozenset({"view", "change"})
    list_display = ["event_shown", "alert_shown", "channel", "state_shown", "attempts", "created_shown", "error_shown"]
    list_display_links = ["event_shown", "alert_shown"]
    list_filter = ["state", "event", TENANT_FILTER]
    list_select_related = ["channel", "alert"]
    actions_detail = ["redeliver"]
    fields = ["event_shown", "alert", "channel", "state_shown", "attempts", "created_shown", "next_shown",
              "delivered_shown", "last_error", "uid_shown"]  # fmt: skip

    def has_change_permission(self, request, obj=None):
        """No field can be edited; the right to change is the right to send again."""
        return False

    @action(description="Send again", icon="replay", permissions=["act"])
    def redeliver(self, request, object_id):
        """Send the same message again, under the same id."""
        delivery = self.found(request, object_id)
        if request.method != "POST":
            lines = [f"{self.event_shown(delivery)}: {self.alert_shown(delivery)}", "It is sent within some seconds."]
            return self.ask(request, delivery, "Send this message again?", lines, "Send again")
        try:
            acting.redeliver(delivery, actor=self.person(request))
        except acting.ActRefused as refusal:
            messages.error(request, str(refusal))
        else:
            messages.success(request, "It is sent again within some seconds.")
        return self.back_to(delivery)

    @display(description="Event", ordering="event")
    def event_shown(self, delivery):
        return delivery.get_event_display()

    @display(description="Alert")
    def alert_shown(self, delivery):
        return delivery.alert.text if delivery.alert else "A test"

    @display(description="State", ordering="state", label=STATE_COLOURS)
    def state_shown(self, delivery):
        return delivery.get_state_display()

    @display(description="Made", ordering="created_at")
    def created_shown(self, delivery):
        return showing.moment(delivery.created_at)

    @display(description="Delivered")
    def delivered_shown(self, delivery):
        return showing.moment(delivery.delivered_at)

    @display(description="Next attempt")
    def next_shown(self, delivery):
        waits = delivery.state in {DeliveryState.QUEUED, DeliveryState.SENDING}
        return f"{delivery.next_attempt_at:%Y-%m-%d %H:%M:%S} UTC" if waits else showing.NOTHING

    @display(description="Last error")
    def error_shown(self, delivery):
        return delivery.last_error[:80] or showing.NOTHING

    @display(description="Message id")
    def uid_shown(self, delivery):
        return showing.code(f"msg_{delivery.uid.hex}")


@admin.register(Turn)
class TurnAdmin(PlatformModelAdmin):
    """When the rules were last watched, and the outside monitor last told."""

    list_display = ["name", "at_shown", "note"]
    fields = ["name", "at_shown", "note"]

    @display(description="Last begun", ordering="at")
    def at_shown(self, turn):
        return showing.moment(turn.at)
