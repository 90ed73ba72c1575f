"""Targets: where copies are kept, what they hold and cost, and whether they keep their promises."""

from __future__ import annotations

from django.contrib import admin, messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.urls import path
from unfold.decorators import action
from unfold.enums import ActionVariant

from backup_platform.console.asking import AskingAdmin, Question
from backup_platform.console.model_admin import TENANT_FILTER, RefusalsAsMessages, TenantModelAdmin
from backup_platform.console.site import actor_of, asking
from backup_platform.targets import services
from backup_platform.targets.admin.columns import TargetColumns, with_use
from backup_platform.targets.admin.forms import TargetForm
from backup_platform.targets.admin.standing import shown_of
from backup_platform.targets.models import Target, TargetKind, TargetState

SHOWN = ["kind_shown", "place_shown", "use_shown", "cost_shown", "credentials_shown", "created_by"]
RESUMABLE = (TargetState.PAUSED, TargetState.DRAINING)
USED = (TargetState.NEW, TargetState.ACTIVE)
BUCKET = ["endpoint", "region", "bucket", "prefix", "access_key", "secret_key"]
KEEPING = ["storage_class", "lock_days", "parity_percent", "capacity_bytes", "watermark_percent", "price", "currency"]


@admin.register(Target)
class TargetAdmin(RefusalsAsMessages, TargetColumns, AskingAdmin, TenantModelAdmin):
    """Directories and buckets. Credentials go in here and never come out."""

    allowed = frozenset({"view", "add", "change"})
    refusals = (services.TargetRefused,)
    form = TargetForm
    list_display = ["name", "kind_shown", "place_shown", "state_shown", "use_shown", "cost_shown", "promises_shown",
                    "tenant"]  # fmt: skip
    list_filter = ["kind", "state", TENANT_FILTER]
    list_select_related = ["tenant"]
    search_fields = ["name"]
    autocomplete_fields = ["tenant"]
    list_before_template = "targets/list.html"
    when_empty = "No bucket and no second disk was added yet. With one, a fire here does not take everything."
    change_form_outer_before_template = "targets/above.html"
    actions_detail = ["probe", "pause", "resume", "drain", "retire"]

    def get_queryset(self, request):
        """With what they hold."""
        return with_use(super().get_queryset(request))

    def get_urls(self):
        """The part above the form is asked for again while the target is probed."""
        return [path("<uuid:object_id>/state/", self.state_view, name="targets_target_state"), *super().get_urls()]

    def changelist_view(self, request, extra_context=None):
        """With where the tenant's packs are; where all tenants are shown, the rows themselves say it."""
        one = asking(request).tenant is not None
        return super().changelist_view(request, {**(extra_context or {}), "places_of_one": one})

    def change_view(self, request, object_id, form_url="", extra_context=None):
        """With how it stands above the form."""
        target = self.get_object(request, str(object_id))
        shown = self._shown(request, target) if target is not None else None
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), "shown": shown})

    def state_view(self, request, object_id):
        """How it stands now. Without an answer to give, the whole page is loaded anew, and says why."""
        target = self.get_object(request, str(object_id)) if self.has_view_permission(request) else None
        if target is None:
            return HttpResponse(status=204, headers={"HX-Refresh": "true"})
        return HttpResponse(render_to_string("targets/standing.html", {"shown": self._shown(request, target)}))

    def has_change_permission(self, request, obj=None):
        """The home directory is its operator's, and a retired target is past."""
        fixed = obj is not None and (obj.home or obj.state == TargetState.RETIRED)
        return not fixed and super().has_change_permission(request, obj)

    def has_probe_permission(self, request, object_id=None):
        """Whether this person may act on targets, and this one is still asked."""
        return self._may_act(request, object_id, (*USED, *RESUMABLE), home=True)

    def has_pause_permission(self, request, object_id=None):
        """The same, for one that is in use."""
        return self._may_act(request, object_id, USED)

    def has_resume_permission(self, request, object_id=None):
        """The same, for one that is not."""
        return self._may_act(request, object_id, RESUMABLE)

    def has_drain_permission(self, request, object_id=None):
        """The same, for one that is not being emptied already."""
        return self._may_act(request, object_id, (TargetState.ACTIVE, TargetState.PAUSED))

    def has_retire_permission(self, request, object_id=None):
        """The same, for one that is not retired."""
        return self._may_act(request, object_id, (*USED, *RESUMABLE))

    def _may_act(self, request, object_id, states, *, home=False):
        """The role table, and whether it makes sense now. What is not there is said later."""
        if not self.may(request, "change"):
            return False
        row = self.get_object(request, str(object_id)) if object_id else None
        return row is None or (row.state in states and (home or not row.home))

    def get_fieldsets(self, request, obj=None):
        """What may be entered, for whoever asks; then what is known."""
        actor = asking(request)
        staff = actor.is_platform_staff
        if obj is not None and not self.has_change_permission(request, obj):
            return [(None, {"fields": ["name", *SHOWN]})]
        first = ["name"] if obj or not staff else ["name", "kind", "path"]
        if obj is None and actor.tenant is None:
            first = ["tenant", *first]
        if obj is not None and obj.kind == TargetKind.LOCAL:
            kept = [name for name in KEEPING if name not in {"storage_class", "lock_days"}]
            return [(None, {"fields": first}), ("Keeping", {"fields": kept}), ("What is known", {"fields": SHOWN})]
        bucket = [name for name in BUCKET if obj is None or name not in {"bucket", "prefix"}]
        if staff:
            bucket.insert(1, "allow_private")
        sets = [(None, {"fields": first}), ("Bucket", {"fields": bucket}), ("Keeping", {"fields": KEEPING})]
        return sets if obj is None else [*sets, ("What is known", {"fields": SHOWN})]

    def get_readonly_fields(self, request, obj=None):
        """What is computed, or fixed for good."""
        if obj is not None and not self.has_change_permission(request, obj):
            return ["name", *SHOWN]
        return SHOWN

    def get_form(self, request, obj=None, change=False, **kwargs):
        """Tell the form who fills it in."""
        form = super().get_form(request, obj, change=change, **kwargs)
        actor = asking(request)
        form.staff, form.shown_tenant = actor.is_platform_staff and actor.user.is_superuser, actor.tenant
        if "tenant" in form.base_fields:
            form.base_fields["tenant"].required = False
            form.base_fields["tenant"].help_text = "Empty: shared by all tenants."
        return form

    def save_model(self, request, obj, form, change):
        """Keep it by the service, so that it is checked and audited as everywhere; a worker probes it."""
        act = services.change_target if change else services.create_target
        act(obj, form.credentials, actor=asking(request).name, staff=form.staff)

    def response_add(self, request, obj, post_url_continue=None):
        """To its own page, which says how its probe goes."""
        messages.success(request, f"{obj.name} was added. It is used as soon as a probe has found it good.")
        return redirect("admin:targets_target_change", obj.pk)

    @action(description="Probe", icon="network_check", permissions=["probe"])
    def probe(self, request, object_id):
        """Try soon what the target can do."""

        def question(target):
            text = "Some objects are written to a folder of their own, read, listed and deleted, within a minute."
            more = ("It stays paused or draining, whatever is found.",) if target.state in RESUMABLE else ()
            return Question(f"Probe {target.name}?", (text, *more), "Probe now", danger=False)

        def act(target, _reason):
            services.ask_probe(target, actor=asking(request).name)
            return "The probe was asked for. This page says how it goes."

        return self._asked(request, object_id, question, act)

    @action(description="Pause", icon="pause", permissions=["pause"])
    def pause(self, request, object_id):
        """Write nothing there for a while."""

        def question(target):
            text = ("Nothing is written there until it is resumed. What is there is still read.",)
            return Question(f"Pause {target.name}?", text, "Pause", danger=False)

        def act(target, _reason):
            services.pause_target(target, actor=asking(request).name)
            return "It is paused."

        return self._asked(request, object_id, question, act)

    @action(description="Resume", icon="play_arrow", permissions=["resume"])
    def resume(self, request, object_id):
        """Use it again."""

        def question(target):
            good = "It is written to again."
            text = good if target.was_found_good else "It is probed first, and written to once it was found good."
            return Question(f"Resume {target.name}?", (text,), "Resume", danger=False)

        def act(target, _reason):
            services.resume_target(target, actor=asking(request).name)
            return "It is used again." if target.state == TargetState.ACTIVE else "It is probed, then used again."

        return self._asked(request, object_id, question, act)

    @action(description="Drain", icon="output", permissions=["drain"])
    def drain(self, request, object_id):
        """Move everything elsewhere."""

        def question(target):
            text = (
                "Nothing new is written there.",
                "What is there is copied to the other targets, and goes once enough good copies are kept.",
            )
            return Question(f"Drain {target.name}?", text, "Drain")

        def act(target, _reason):
            services.drain_target(target, actor=asking(request).name)
            return "It is being drained."

        return self._asked(request, object_id, question, act)

    @action(description="Retire", icon="archive", variant=ActionVariant.DANGER, permissions=["retire"])
    def retire(self, request, object_id):
        """Never ask it again."""

        def question(target):
            text = ("It is not asked any more, and its credentials are forgotten. This needs an empty target.",)
            return Question(f"Retire {target.name}?", text, "Retire")

        def act(target, _reason):
            services.retire_target(target, actor=asking(request).name)
            return "It is retired."

        return self._asked(request, object_id, question, act)

    def _shown(self, request, target):
        return shown_of(target, may_act=self.may(request, "change"))

    def _asked(self, request, object_id, question, act):
        return self.ask_or_act(request, object_id, actor_of(request) is not None and self.may(request, "change"),
                               question, act, self.refusals)  # fmt: skip
