"""Channels: where they lead is asked for and never shown again."""

from __future__ import annotations

from django.contrib import admin, messages
from django.template.response import TemplateResponse
from unfold.decorators import action, display

from backup_platform.console import showing
from backup_platform.console.model_admin import TENANT_FILTER
from backup_platform.notifications import channels
from backup_platform.notifications.admin.asking import AskingAdmin, tenant_shown
from backup_platform.notifications.admin.forms import ChannelForm
from backup_platform.notifications.models import Channel
from backup_platform.notifications.words import AlertKind, ChannelKind, Level

STATE_COLOURS = {"in use": "success", "paused": "warning"}


@admin.register(Channel)
class ChannelAdmin(AskingAdmin):
    """Whom to tell, and how."""

    allowed = frozenset({"view", "add", "change", "delete"})
    form = ChannelForm
    list_display = ["name", "kind_shown", "leads_to", "level_shown", "state_shown", "whose_shown", "tenant"]
    list_filter = ["kind", TENANT_FILTER]
    list_select_related = ["tenant", "person"]
    search_fields = ["name"]
    autocomplete_fields = ["tenant"]
    actions_detail = ["test", "new_key", "pause"]
    wishes = ("What it wants to hear", {"fields": ["lowest_level", "kinds", "tell_recovery", "remind_hours"]})

    def get_fieldsets(self, request, obj=None):
        """The platform's own people, seeing all tenants, may also make channels of the platform."""
        everything = tenant_shown(request) is None
        if not self.may(request, "change" if obj else "add"):
            return [(None, {"fields": ["name", "kind_shown", "leads_to", "level_shown", "kinds_shown", "state_shown",
                                       "whose_shown", "pause_reason", "tell_recovery", "remind_hours"]})]  # fmt: skip
        first = ["name", "kind", "address"] if obj is None else ["name", "kind_shown", "leads_to", "address"]
        if obj is None:
            first += ["tenant"] if everything else ["whose"]
        else:
            first += ["whose_shown", "state_shown"]
        wishes = dict(self.wishes[1])
        if everything and (obj is None or obj.tenant_id is None):
            wishes["fields"] = [*wishes["fields"], "every_tenant"]
        return [(None, {"fields": first}), (self.wishes[0], wishes)]

    def get_readonly_fields(self, request, obj=None):
        """What is computed from the row, and all of it for who may only look."""
        shown = ["kind_shown", "leads_to", "whose_shown", "state_shown", "level_shown", "kinds_shown"]
        if not self.may(request, "change" if obj else "add"):
            shown += ["name", "pause_reason", "tell_recovery", "remind_hours"]
        return shown

    def get_form(self, request, obj=None, change=False, **kwargs):
        """The form's own fields are declared, so Django need not look for them among the model's."""
        form = super().get_form(request, obj, change=change, **kwargs)
        if "tenant" in form.base_fields:
            form.base_fields["tenant"].required = False
        return form

    def save_model(self, request, obj, form, change):
        """Keep it by the service, so that it is audited as everywhere."""
        if not change:
            tenant = self.tenant_of_new(request, form)
            obj.tenant_id = tenant.pk if tenant else None
            obj.person = request.user if form.cleaned_data.get("whose") == "me" else None
        channels.save_channel(obj, actor=self.person(request))
        obj.fresh_key = form.fresh_key

    def delete_model(self, request, obj):
        """Remove it by the service, for the same reason."""
        channels.remove_channel(obj, actor=self.person(request))

    def response_add(self, request, obj, post_url_continue=None):
        """A webhook's new key is shown now, on this page, and never again."""
        return self.show_key(request, obj, obj.fresh_key) if obj.fresh_key else self.back_to(obj)

    def show_key(self, request, channel, key):
        """The one page on which a signing key stands."""
        context = {**self.admin_site.each_context(request), "title": f"Signing key of {channel.name}",
                   "opts": self.opts, "key": key, "back": self.back_to(channel).url}  # fmt: skip
        return TemplateResponse(request, "notifications/key.html", context)

    @action(description="Test", icon="send", permissions=["act"])
    def test(self, request, object_id):
        """Send a real message now, and say how it went."""
        channel = self.found(request, object_id)
        if request.method != "POST":
            lines = [f"A test message is sent to {self.leads_to(channel)} now."]
            return self.ask(request, channel, f"Test {channel.name}?", lines, "Send the test")
        outcome = channels.check_channel(channel, actor=self.person(request))
        if outcome.ok:
            messages.success(request, "The test was delivered.")
        else:
            messages.error(request, f"The test was not delivered. {outcome.fault}")
        return self.back_to(channel)

    @action(description="New signing key", icon="key", permissions=["act"])
    def new_key(self, request, object_id):
        """Make a new key and show it once."""
        channel = self.found(request, object_id)
        if channel.kind != ChannelKind.WEBHOOK:
            messages.info(request, "Only webhooks are signed.")
            return self.back_to(channel)
        if request.method != "POST":
            lines = [
                "The new key is shown once. For a day messages are signed with both, so that the receiver can change."
            ]
            return self.ask(request, channel, "Make a new signing key?", lines, "Make a new key")
        return self.show_key(request, channel, channels.rotate_key(channel, actor=self.person(request)))

    @action(description="Pause or resume", icon="pause", permissions=["act"])
    def pause(self, request, object_id):
        """Stop using it for a while, or use it again."""
        channel = self.found(request, object_id)
        paused = channel.paused_at is not None
        if request.method != "POST":
            stopped = "Nothing is told there until it is resumed. What happens meanwhile is not told there later."
            lines = ["It is used again, and what waits for it is sent." if paused else stopped]
            title = f"Resume {channel.name}?" if paused else f"Pause {channel.name}?"
            return self.ask(request, channel, title, lines, "Resume" if paused else "Pause")
        change = channels.resume_channel if paused else channels.pause_channel
        change(channel, actor=self.person(request))
        messages.success(request, "It is used again." if paused else "It is paused.")
        return self.back_to(channel)

    @display(description="Kind", ordering="kind")
    def kind_shown(self, channel):
        return channel.get_kind_display()

    @display(description="Leads to")
    def leads_to(self, channel):
        return channel.settings.get("shown") or ", ".join(channel.settings.get("to", [])) or showing.NOTHING

    @display(description="From level", ordering="lowest_level")
    def level_shown(self, channel):
        return Level(channel.lowest_level).label

    @display(description="Kinds of alert")
    def kinds_shown(self, channel):
        words = dict(AlertKind.choices)
        return ", ".join(words.get(kind, kind) for kind in channel.kinds) or "all"

    @display(description="State", label=STATE_COLOURS)
    def state_shown(self, channel):
        return "paused" if channel.paused_at else "in use"

    @display(description="Whose")
    def whose_shown(self, channel):
        return channel.person.get_username() if channel.person else "everybody's"
