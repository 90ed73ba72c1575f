"""The pages of legal holds: set, look, ask for release, agree to it."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.http import Http404
from django.utils import timezone
from unfold.decorators import action, display
from unfold.enums import ActionVariant

from backup_platform.catalog.models import Snapshot, SnapshotState
from backup_platform.console import showing
from backup_platform.console.asking import AskingAdmin, Question
from backup_platform.console.model_admin import TENANT_FILTER, TenantModelAdmin
from backup_platform.console.site import asking
from backup_platform.retention.errors import RetentionRefused
from backup_platform.retention.holding import covered
from backup_platform.retention.holds import MANAGE, release_hold, set_hold, withdraw_request
from backup_platform.retention.holds_extending import extend_hold, read_end
from backup_platform.retention.models import Hold, HoldScope
from backup_platform.tenants.access import can

COLOURS = {"in force": "success", "release asked for": "warning", "released": "default"}
WRITTEN = ("case", "reason", "scope", "machine", "policy", "snapshot", "received_from", "received_until", "until")


class HoldForm(forms.ModelForm):
    """A new hold. Saving is part of checking: only the service knows every rule."""

    asker: Any = None
    saved: Any = None

    class Meta:
        model = Hold
        fields = ("tenant", *WRITTEN)
        labels: ClassVar = {"scope": "What it covers", "until": "Ends"}
        help_texts: ClassVar = {
            "scope": "What is there now, and what comes later. Unless it is everything, name it below."
        }

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for name in ("received_from", "received_until", "until"):
            if name in self.fields:
                _name_parts(self.fields[name])

    def clean(self):
        super().clean()
        if not self.errors:
            values: dict[str, Any] = {name: self.cleaned_data.get(name) for name in WRITTEN}
            about = values.get(values["scope"])
            tenant = self.cleaned_data.get("tenant") or self.asker.tenant or getattr(about, "tenant", None)
            if tenant is None:
                self.add_error(None, "Choose a tenant first.")
                return self.cleaned_data
            times = {name: values[name] for name in ("received_from", "received_until", "until")}
            try:
                self.saved = set_hold(tenant, values["case"], values["reason"], by=self.asker, scope=values["scope"],
                                      about=about, **times)  # fmt: skip
            except RetentionRefused as refused:
                self.add_error(None, str(refused))
        return self.cleaned_data

    def _post_clean(self):
        """The service has saved already."""

    def save(self, commit=True):
        """What the service saved."""
        self.save_m2m: Any = lambda: None
        return self.saved


def _name_parts(field):
    """Say what the two halves of a time are: a label names only the first."""
    for part, words in zip(field.widget.widgets, ("date", "time, UTC"), strict=True):
        part.attrs["aria-label"] = f"{field.label}: {words}"


def _plain(widget):
    """Without buttons that make or change the other row in a pop-up."""
    for name in ("can_add_related", "can_change_related", "can_delete_related", "can_view_related"):
        setattr(widget, name, False)


class InForce(admin.SimpleListFilter):
    """The question that people come with."""

    title = "whether it is in force"
    parameter_name = "force"

    def lookups(self, request, model_admin):
        return [("yes", "In force"), ("asked", "Release asked for"), ("no", "Released")]

    def queryset(self, request, queryset):
        ways = {"yes": queryset.filter(released_at=None), "no": queryset.exclude(released_at=None),
                "asked": queryset.filter(released_at=None).exclude(asked_by="")}  # fmt: skip
        return ways.get(self.value() or "", queryset)


@admin.register(Hold)
class HoldAdmin(AskingAdmin, TenantModelAdmin):
    """Legal holds, the newest first. None is ever changed: it is set, and it is released."""

    allowed = frozenset({"view", "add"})
    form = HoldForm
    autocomplete_fields = ("machine", "policy", "snapshot")
    list_display = ["case", "state_shown", "scope_shown", "until_shown", "set_by", "set_shown", "tenant"]
    list_filter = [InForce, TENANT_FILTER]
    search_fields = ["case", "reason"]
    list_select_related = ["tenant", "machine", "policy"]
    when_empty = "A legal hold keeps what it covers from expiring, whatever the rules say, until it is released."
    actions_detail = ["extend", "release", "leave"]
    shown = ("case", "reason", "state_shown", "scope_shown", "covers_shown", "received_shown", "until_shown",
             "second_shown", "set_by", "set_shown", "asked_by", "asked_because", "released_by", "released_because",
             "released_shown", "tenant")  # fmt: skip

    def get_fields(self, request, obj=None):
        """A form for a new one, all facts of one that is set."""
        if obj is not None:
            return self.shown
        return [*(["tenant"] if asking(request).tenant is None else []), *WRITTEN]

    def get_form(self, request, obj=None, change=False, **kwargs):
        """The form, knowing who asks."""
        if obj is None:
            kwargs["form"] = type("HoldForm", (HoldForm,), {"asker": asking(request)})
        form = super().get_form(request, obj, change=change, **kwargs)
        for name in ("machine", "policy", "snapshot"):
            if name in form.base_fields:
                _plain(form.base_fields[name].widget)
        return form

    def save_model(self, request, obj, form, change):
        """The form has saved it by the service."""

    def has_release_permission(self, request, object_id=None):
        """Whether this person may release this hold, or ask for it."""
        if not can(asking(request), MANAGE):
            return False
        row = self.get_object(request, object_id) if object_id else None
        return row is None or row.released_at is None

    def has_leave_permission(self, request, object_id=None):
        """Whether somebody asks for its release, and this person may refuse."""
        if not self.has_release_permission(request, object_id):
            return False
        row = self.get_object(request, object_id) if object_id else None
        return row is None or bool(row.asked_by)

    def has_extend_permission(self, request, object_id=None):
        """Whether this hold has an end, and this person may move it."""
        if not self.has_release_permission(request, object_id):
            return False
        row = self.get_object(request, object_id) if object_id else None
        return row is None or bool(row.until and not row.asked_by)

    @action(description="Extend", icon="more_time", permissions=["extend"])
    def extend(self, request, object_id):
        """Ask until when, then set the hold that follows. A GET only asks."""

        def act(hold, written):
            following = extend_hold(hold, read_end(written), by=asking(request))
            return f"It stays in force until {self.until_shown(following)}: as a hold of its own, beside this one."

        return self._act(request, object_id, _extend_question, act)

    @action(description="Release", icon="lock_open", variant=ActionVariant.DANGER, permissions=["release"])
    def release(self, request, object_id):
        """Ask why, then release it or ask for a second person. A GET only asks."""

        def act(hold, reason):
            done = release_hold(hold, by=asking(request), because=reason)
            return "The hold is released." if done else "The release is asked for; another person has to agree."

        return self._act(request, object_id, _release_question, act)

    @action(description="Leave in force", icon="lock", permissions=["leave"])
    def leave(self, request, object_id):
        """Ask, then refuse the release. A GET only asks."""

        def act(hold, _reason):
            withdraw_request(hold, by=asking(request))
            return "The hold stays in force."

        return self._act(request, object_id, _leave_question, act)

    def _act(self, request, object_id, question, act):
        row = self.get_object(request, object_id)
        if row is None:
            raise Http404
        may = can(asking(request), MANAGE, row)
        return self.ask_or_act(request, object_id, may, question, act, (RetentionRefused,))

    @display(description="State", label=COLOURS)
    def state_shown(self, hold):
        if hold.released_at or (hold.until and hold.until <= timezone.now()):
            return "released"
        return "release asked for" if hold.asked_by else "in force"

    @display(description="Covers")
    def scope_shown(self, hold):
        label = HoldScope(hold.scope).label
        return f"{label}: {hold.about}" if hold.about else label

    @display(description="Snapshots now")
    def covers_shown(self, hold):
        there = Snapshot.objects.filter(covered(hold)).exclude(state=SnapshotState.RECLAIMED)
        return showing.number(there.count())

    @display(description="Received between")
    def received_shown(self, hold):
        begin = f"{hold.received_from:%Y-%m-%d %H:%M}" if hold.received_from else "the beginning"
        end = f"{hold.received_until:%Y-%m-%d %H:%M} UTC" if hold.received_until else "whatever comes"
        return f"{begin} and {end}"

    @display(description="Until", ordering="until")
    def until_shown(self, hold):
        return f"{hold.until:%Y-%m-%d %H:%M} UTC" if hold.until else "it is released"

    @display(description="Release takes")
    def second_shown(self, hold):
        return "two persons" if hold.needs_second else "one person"

    @display(description="Set", ordering="set_at")
    def set_shown(self, hold):
        return showing.moment(hold.set_at)

    @display(description="Released")
    def released_shown(self, hold):
        return showing.moment(hold.released_at)


def _extend_question(hold):
    text = "What it covers stays covered without a gap. A hold follows this one, the same but for its end."
    value = f"{hold.until:%Y-%m-%d %H:%M}" if hold.until else ""
    return Question(f"Extend the hold “{hold.case}”?", (text,), "Extend it", danger=False, optional=True, value=value,
                    reason="New end, UTC (empty: until it is released)")  # fmt: skip


def _release_question(hold):
    text = "What it covers follows its usual rules again, and may expire with the next run."
    more = (f"{hold.asked_by} asks for it: {hold.asked_because}",) if hold.asked_by else ()
    return Question(f"Release the hold “{hold.case}”?", (*more, text), "Release it", reason="Why it is released")


def _leave_question(hold):
    text = f"{hold.asked_by} asks for its release: {hold.asked_because}"
    return Question(f"Leave the hold “{hold.case}” in force?", (text,), "Leave it in force", danger=False)
