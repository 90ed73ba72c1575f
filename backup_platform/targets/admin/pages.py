"""Targets: where copies are kept, what they hold and cost, and whether they keep their promises."""

from __future__ import annotations

from django.contrib import admin, messages
from unfold.decorators import action
from unfold.enums import ActionVariant

from backup_platform.console.asking import AskingAdmin, Question
from backup_platform.console.model_admin import TENANT_FILTER, RefusalsAsMessages, TenantModelAdmin
from backup_platform.console.site import actor_of, asking
from backup_platform.targets import services
from backup_platform.targets.admin.columns import TargetColumns, with_use
from backup_platform.targets.admin.forms import TargetForm
from backup_platform.targets.models import Target, TargetKind, TargetState
from backup_platform.targets.probe import probe_target

SHOWN = ["kind_shown", "place_shown", "state_shown", "use_shown", "cost_shown", "credentials_shown", "probed_shown",
         "findings_shown", "away_shown", "fault", "created_by"]  # fmt: skip
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
    actions_detail = ["probe", "pause", "drain", "retire"]

    def get_queryset(self, request):
        """With what they hold."""
        return with_use(super().get_queryset(request))

    def has_change_permission(self, request, obj=None):
        """The home directory is its operator's, and a retired target is past."""
        fixed = obj is not None and (obj.home or obj.state == TargetState.RETIRED)
        return not fixed and super().has_change_permission(request, obj)

    def has_act_permission(self, request, object_id=None):
        """Whether this person may act on targets; for unfold's actions."""
        return self.may(request, "change")

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
        """Keep it by the service, so that it is checked and audited as everywhere; then probe it."""
        act = services.change_target if change else services.create_target
        act(obj, form.credentials, actor=asking(request).name, staff=form.staff)

    def response_add(self, request, obj, post_url_continue=None):
        """A new target is probed at once, and shown."""
        self._probe(request, obj)
        return self.response_post_save_change(request, obj)

    def _probe(self, request, target):
        report = probe_target(target, actor=asking(request).name)
        if report.usable:
            messages.success(request, f"{target.name} was probed: packs can be kept there.")
        else:
            messages.error(request, f"{target.name} cannot be used. {report.fault}")

    @action(description="Probe", icon="network_check", permissions=["act"])
    def probe(self, request, object_id):
        """Try now what the target can do."""

        def question(target):
            text = "Some objects are written to a folder of their own, read, listed and deleted, within a minute."
            return Question(f"Probe {target.name}?", (text,), "Probe now", danger=False)

        def act(target, _reason):
            report = probe_target(target, actor=asking(request).name)
            if not report.usable:
                raise services.TargetRefused(f"{target.name} cannot be used. {report.fault}")
            return f"{target.name} was probed: packs can be kept there."

        return self._asked(request, object_id, question, act)

    @action(description="Pause or resume", icon="pause", permissions=["act"])
    def pause(self, request, object_id):
        """Write nothing there for a while, or use it again."""

        def resumes(target):
            return target.state in {TargetState.PAUSED, TargetState.DRAINING}

        def question(target):
            if resumes(target):
                return Question(f"Resume {target.name}?", ("It is written to again.",), "Resume", danger=False)
            text = ("Nothing is written there until it is resumed. What is there is still read.",)
            return Question(f"Pause {target.name}?", text, "Pause", danger=False)

        def act(target, _reason):
            if resumes(target):
                services.resume_target(target, actor=asking(request).name)
                return "It is used again."
            services.pause_target(target, actor=asking(request).name)
            return "It is paused."

        return self._asked(request, object_id, question, act)

    @action(description="Drain", icon="output", permissions=["act"])
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

    @action(description="Retire", icon="archive", variant=ActionVariant.DANGER, permissions=["act"])
    def retire(self, request, object_id):
        """Never ask it again."""

        def question(target):
            text = ("It is not asked any more, and its credentials are forgotten. This needs an empty target.",)
            return Question(f"Retire {target.name}?", text, "Retire")

        def act(target, _reason):
            services.retire_target(target, actor=asking(request).name)
            return "It is retired."

        return self._asked(request, object_id, question, act)

    def _asked(self, request, object_id, question, act):
        return self.ask_or_act(request, object_id, actor_of(request) is not None and self.may(request, "change"),
                               question, act, self.refusals)  # fmt: skip
