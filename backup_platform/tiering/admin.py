"""Pages for tier rules and for what lies where: parse, ask who may, call one service, render."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminSelectWidget

from backup_platform.catalog.models import Copy, CopyState, SnapshotCopy
from backup_platform.console import showing
from backup_platform.console.model_admin import TENANT_FILTER, RefusalsAsMessages, TenantModelAdmin
from backup_platform.console.site import actor_of
from backup_platform.targets.admin.filters import TargetFilter
from backup_platform.tenants.access import may
from backup_platform.tiering import services
from backup_platform.tiering.cold_page import ThawFilter, thaw_words
from backup_platform.tiering.errors import TieringRefused
from backup_platform.tiering.finding import targets_for_rules
from backup_platform.tiering.lag import figures, lag_of_rule
from backup_platform.tiering.models import TierRule
from backup_platform.tiering.places_page import places_of
from backup_platform.tiering.words import STOPPED, copy_words, evict_words, packs_words, state_words

COPY_COLOURS = {
    CopyState.GOOD.label: "success",
    CopyState.WRITING.label: "info",
    CopyState.DAMAGED.label: "danger",
    CopyState.LEAVING.label: "warning",
    CopyState.GONE.label: "default",
}
STATE_COLOURS = {
    "at work": "success",
    "paused": "warning",
    "target is away": "danger",
    **dict.fromkeys(STOPPED.values(), "warning"),
}
DAYS = "Days after a pack was verified; counts only where days are chosen above."


class TierRuleForm(forms.ModelForm):
    """A rule. Its target is chosen by name among the tenant's own and the shared ones."""

    where = forms.ChoiceField(label="Target", widget=UnfoldAdminSelectWidget)

    class Meta:
        model = TierRule
        fields = ["copy_when", "copy_days", "at_once", "evict_when", "evict_days", "min_copies"]
        labels = {
            "copy_when": "Copy packs", "copy_days": "Copy after days", "at_once": "Small packs at once",
            "evict_when": "Local copies go", "evict_days": "Go after days", "min_copies": "Copies that must be good",
        }  # fmt: skip
        help_texts = {"copy_days": DAYS, "evict_days": DAYS}

    usable: tuple = ()
    """The targets that may be chosen; set for each request."""

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        if "where" in self.fields:
            where = cast("forms.ChoiceField", self.fields["where"])
            where.choices = [(str(target.pk), target.name) for target in self.usable]
            where.initial = str(self.instance.target_id or "")

    def clean(self):
        """Turn the choice into the target."""
        cleaned = super().clean() or self.cleaned_data
        chosen = {str(target.pk): target for target in self.usable}.get(cleaned.get("where", ""))
        if chosen is not None:
            self.instance.target = chosen
        return cleaned


@admin.register(TierRule)
class TierRuleAdmin(RefusalsAsMessages, TenantModelAdmin):
    """When packs are copied, when local copies go, and how far each target is behind."""

    allowed = frozenset({"view", "add", "change", "delete"})
    refusals = (TieringRefused,)
    form = TierRuleForm
    list_display = ["target_shown", "copy_shown", "evict_shown", "state_shown", "lag_shown", "there_shown",
                    "cost_shown", "tenant"]  # fmt: skip
    list_filter = ["copy_when", "evict_when", TENANT_FILTER]
    when_empty = "Nothing is copied anywhere: all lies on this server. Add a target first, then a rule for it."
    conditional_fields = {"copy_days": "copy_when == 'days'", "evict_days": "evict_when == 'days'",
                          "min_copies": "evict_when != 'never'"}  # fmt: skip
    actions_detail = ["pause", "resume", "drain"]
    shown = ["target_shown", "copy_shown", "evict_shown", "state_shown", "lag_shown", "there_shown", "cost_shown"]

    def title_of(self, obj):
        """A rule has no name: its target has."""
        return f"rule for {obj.target.name}"

    def get_urls(self):
        """Where packs are, for the list of targets: it counts whole tables, and a list must not wait for that."""
        return [path("places/", self.places_view, name="tiering_tierrule_places"), *super().get_urls()]

    def places_view(self, request):
        """The part that says where the tenant's packs are; nothing where all tenants are shown."""
        actor = actor_of(request)
        if actor is None or not self.has_view_permission(request):
            return HttpResponse(status=204, headers={"HX-Refresh": "true"})
        may_add = may(actor, "add", "targets.Target")
        return places_of(actor.tenant.pk, may_add=may_add) if actor.tenant else HttpResponse()

    def get_queryset(self, request):
        """With targets, shared ones among them."""
        return super().get_queryset(request).select_related("target", "tenant")

    def get_fieldsets(self, request, obj=None):
        """Fields for who may change, what they say for who may look."""
        figures_too = [("Now", {"fields": ["state_shown", "lag_shown", "there_shown", "cost_shown"]})] if obj else []
        if not self.may(request, "change" if obj else "add"):
            return [(None, {"fields": self.shown})]
        return [
            (None, {"fields": ["where"]}),
            ("Copying", {"fields": ["copy_when", "copy_days", "at_once"]}),
            ("Leaving this host", {"fields": ["evict_when", "evict_days", "min_copies"]}),
            *figures_too,
        ]

    def get_readonly_fields(self, request, obj=None):
        """What is computed."""
        return self.shown

    def get_form(self, request, obj=None, change=False, **kwargs):
        """The form, with the targets that this tenant may use."""
        kwargs["fields"] = None if not self.may(request, "change" if obj else "add") else TierRuleForm.Meta.fields
        if kwargs["fields"] is None:
            kwargs["fields"] = []
        form = super().get_form(request, obj, change=change, **kwargs)
        tenant = obj.tenant_id if obj else getattr(self._tenant(request), "pk", None)
        return type(form.__name__, (form,), {"usable": tuple(targets_for_rules(tenant))})

    def save_model(self, request, obj, form, change):
        """By the service, so that it is checked and audited as everywhere."""
        if not change:
            tenant = self._tenant(request)
            obj.tenant_id = tenant.pk if tenant else None
        services.save_rule(obj, self._person(request))

    def delete_model(self, request, obj):
        """By the service, for the same reason."""
        services.remove_rule(obj, self._person(request))

    def has_act_permission(self, request, object_id=None):
        """For unfold's actions."""
        return self.may(request, "change")

    def has_pause_permission(self, request, object_id=None):
        """Whether this person may change rules, and this one is at work."""
        return self._may_when(request, object_id, lambda rule: rule.paused_at is None)

    def has_resume_permission(self, request, object_id=None):
        """The same, for one that is paused."""
        return self._may_when(request, object_id, lambda rule: rule.paused_at is not None)

    def _may_when(self, request, object_id, holds):
        rule = self.get_object(request, str(object_id)) if object_id else None
        return self.may(request, "change") and (rule is None or holds(rule))

    @action(description="Pause", icon="pause", permissions=["pause"])
    def pause(self, request, object_id):
        """Stop copying by this rule. A GET only asks."""
        lines = ["Nothing more is copied by this rule, and nothing leaves by it. What is there stays and is read."]
        return self._switch(request, object_id, "Pause", lines, "It is paused.", paused=True)

    @action(description="Resume", icon="play_arrow", permissions=["resume"])
    def resume(self, request, object_id):
        """Go on. A GET only asks."""
        lines = ["Copying goes on, with what has become due meanwhile."]
        return self._switch(request, object_id, "Resume", lines, "It is at work again.", paused=False)

    def _switch(self, request, object_id, button, lines, words, *, paused):
        rule = self._found(request, object_id)
        if request.method != "POST":
            return self._ask(request, rule, f"{button} the rule for {rule.target.name}?", lines, button)
        return self._do(request, rule, lambda: services.pause_rule(rule, self._person(request), paused=paused), words)

    @action(description="Drain the target", icon="move_down", permissions=["act"])
    def drain(self, request, object_id):
        """Empty the target of this rule."""
        rule = self._found(request, object_id)
        actor = actor_of(request)
        if rule.target.tenant_id is None and not (actor and actor.is_platform_staff):
            raise PermissionDenied
        if request.method != "POST":
            lines = [
                "What lies only there is copied elsewhere first: to other targets by their rules, else home.",
                "Then its copies leave, an hour after each was let go, and the target is retired.",
            ]
            return self._ask(request, rule, f"Drain {rule.target.name}?", lines, "Drain it", danger=True)
        return self._do(request, rule, lambda: services.start_drain(rule.target, self._person(request)),
                        "It is being drained.")  # fmt: skip

    @display(description="Target")
    def target_shown(self, rule):
        return rule.target.name

    @display(description="Copied")
    def copy_shown(self, rule):
        return copy_words(rule)

    @display(description="Local copies go")
    def evict_shown(self, rule):
        return evict_words(rule)

    @display(description="State", label=STATE_COLOURS)
    def state_shown(self, rule):
        return state_words(rule)

    @display(description="Behind")
    def lag_shown(self, rule):
        lag = lag_of_rule(rule)
        if not lag.packs:
            return "nothing"
        return f"{packs_words(lag.packs)}, {showing.size(lag.bytes)}, {showing.duration(lag.seconds())}"

    @display(description="There")
    def there_shown(self, rule):
        there = figures(rule.target, rule.tenant_id)
        damaged = f", {there.damaged} damaged" if there.damaged else ""
        return f"{packs_words(there.copies)}, {showing.size(there.bytes)}{damaged}"

    @display(description="Costs a month")
    def cost_shown(self, rule):
        cost = figures(rule.target, rule.tenant_id).cost
        return showing.NOTHING if cost is None else f"{cost:.2f} {rule.target.currency}".strip()

    def _tenant(self, request):
        actor = actor_of(request)
        return actor.tenant if actor else None

    def _person(self, request):
        actor = actor_of(request)
        return actor.name if actor else ""

    def _found(self, request, object_id):
        rule = self.get_object(request, object_id)
        if rule is None:
            raise Http404
        if not self.has_act_permission(request):
            raise PermissionDenied
        return rule

    def _back(self, rule):
        return reverse("admin:tiering_tierrule_change", args=[rule.pk])

    def _ask(self, request, rule, title, lines, button, *, danger=False):
        context = {**self.admin_site.each_context(request), "title": title, "opts": self.opts, "lines": lines,
                   "button": button, "danger": danger, "back": self._back(rule)}  # fmt: skip
        return TemplateResponse(request, "notifications/ask.html", context)

    def _do(self, request, rule, act, words):
        try:
            act()
            messages.success(request, words)
        except TieringRefused as refusal:
            messages.error(request, str(refusal))
        return redirect(self._back(rule))


@admin.register(Copy)
class CopyAdmin(TenantModelAdmin):
    """Packs at targets."""

    list_display = ["pack_shown", "target_shown", "state_shown", "size_shown", "written_shown", "checked_shown",
                    "thaw_shown", "tenant"]  # fmt: skip
    list_filter = ["state", ThawFilter, TargetFilter, TENANT_FILTER]
    search_fields = ["=pack__uid"]
    when_empty = "A tier rule says which packs are copied to a target, and when. A copy counts once it was read back."
    fields = ["pack_shown", "target_shown", "state_shown", "fault", "size_shown", "key_shown", "written_shown",
              "checked_shown", "thaw_shown", "leaves_shown", "lock_shown", "tenant"]  # fmt: skip

    def title_of(self, obj):
        """Which pack, and where."""
        return f"pack {obj.pack.uid.hex[:12]} at {obj.target.name}"

    def get_queryset(self, request):
        """With packs and targets, shared ones among them."""
        return super().get_queryset(request).select_related("pack", "target", "tenant")

    @display(description="Pack")
    def pack_shown(self, copy):
        return showing.code(copy.pack.uid.hex, 12)

    @display(description="Target")
    def target_shown(self, copy):
        return copy.target.name

    @display(description="State", ordering="state", label=COPY_COLOURS)
    def state_shown(self, copy):
        return copy.get_state_display()

    @display(description="Size", ordering="bytes")
    def size_shown(self, copy):
        return showing.size(copy.bytes)

    @display(description="Key")
    def key_shown(self, copy):
        return showing.code(copy.key)

    @display(description="Copied")
    def written_shown(self, copy):
        return showing.moment(copy.written_at)

    @display(description="Read back", ordering="checked_at")
    def checked_shown(self, copy):
        return showing.moment(copy.checked_at)

    @display(description="Cold storage", ordering="thaw_asked_at")
    def thaw_shown(self, copy):
        return thaw_words(copy)

    @display(description="Is removed")
    def leaves_shown(self, copy):
        if copy.leaves_at is None:
            return showing.NOTHING
        return f"{copy.leaves_at:%Y-%m-%d %H:%M} UTC, once nobody reads it"

    @display(description="Object Lock")
    def lock_shown(self, copy):
        """Until when nobody can remove it, also after Strongroom has."""
        if not copy.target.lock_days or copy.written_at is None:
            return "none"
        until = copy.written_at + timedelta(days=copy.target.lock_days)
        gone = " It stays in the bucket as an old version until then." if copy.state == CopyState.GONE else ""
        return f"until {until:%Y-%m-%d}, by the days that are set now.{gone}"


@admin.register(SnapshotCopy)
class SnapshotCopyAdmin(TenantModelAdmin):
    """Snapshots at targets: their objects first, then all that they need."""

    list_display = ["snapshot_shown", "machine_shown", "target_shown", "objects_shown", "complete_shown", "tenant"]
    list_filter = [TargetFilter, TENANT_FILTER]
    when_empty = "Once a tier rule copies packs to a target, each snapshot that is whole there is listed here."
    fields = ["snapshot_shown", "machine_shown", "target_shown", "objects_shown", "lifecycle", "complete_shown",
              "fault", "tenant"]  # fmt: skip

    def title_of(self, obj):
        """Whose snapshot, and where."""
        return f"{obj.snapshot.machine.name} at {obj.target.name}"

    def get_queryset(self, request):
        """With machines and targets, without the columns that may be megabytes."""
        rows = super().get_queryset(request).select_related("snapshot__machine", "target", "tenant")
        return rows.defer("snapshot__bitmap", "snapshot__blocks", "snapshot__recipients", "snapshot__statement")

    @display(description="Snapshot")
    def snapshot_shown(self, row):
        return showing.code(row.snapshot_id.hex, 12)

    @display(description="Machine")
    def machine_shown(self, row):
        return row.snapshot.machine.name

    @display(description="Target")
    def target_shown(self, row):
        return row.target.name

    @display(description="Records there since")
    def objects_shown(self, row):
        return showing.moment(row.objects_at)

    @display(description="Complete since")
    def complete_shown(self, row):
        return showing.moment(row.complete_at)
