"""Scrub for people: how much was read lately and where, what was found and what became of it, and the calendar."""

from __future__ import annotations

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from unfold.decorators import display

from backup_platform.catalog.models import Snapshot
from backup_platform.console import showing
from backup_platform.console.model_admin import TENANT_FILTER, PlatformModelAdmin, TenantModelAdmin
from backup_platform.console.site import actor_of, asking
from backup_platform.targets.admin.filters import PlaceFilter
from backup_platform.upkeep.models import FindingState, ScrubFinding, ScrubSettings
from backup_platform.upkeep.scrub_queries import PlaceState, ScrubState, scrub_state
from backup_platform.upkeep.scrub_services import change_settings

TONES = {FindingState.OPEN: "received", FindingState.HEALED: "verified", FindingState.LOST: "damaged"}


@admin.register(ScrubFinding)
class ScrubFindingAdmin(TenantModelAdmin):
    """What was found damaged, newest first, under the state of all that is stored."""

    list_display = ["found_shown", "kind", "place_shown", "fault", "state_shown", "how_shown", "tenant"]
    list_filter = ["state", "kind", PlaceFilter, TENANT_FILTER]
    when_empty = "Nothing was found damaged. What is found is listed here, with what it was healed from."
    list_select_related = ["tenant", "target", "pack"]
    list_before_template = "upkeep/scrub_list.html"
    fields = ["kind", "state_shown", "place_shown", "pack", "snapshot_shown", "key_shown", "fault", "records",
              "how_shown", "found_shown", "seen_shown", "count", "healed_shown", "tenant"]  # fmt: skip

    def get_queryset(self, request):
        """With what every line names."""
        return super().get_queryset(request).select_related("tenant", "target", "pack")

    def get_urls(self):
        """The state is asked for by the page itself: it counts whole tables, and a list must not wait for that."""
        state = self.admin_site.admin_view(self.state_view)
        return [path("state/", state, name="upkeep_scrubfinding_state"), *super().get_urls()]

    def state_view(self, request):
        """The part of the page that says how much was read lately, and where."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        state = scrub_state()
        actor = actor_of(request)
        staff = actor is not None and actor.is_platform_staff
        context = {
            "scrub": state,
            "verdict": judge(state),
            "places": [_shown(place) for place in [*state.places, state.snapshots]],
            "settings_link": reverse("admin:upkeep_scrubsettings_changelist") if staff else "",
        }
        return TemplateResponse(request, "upkeep/scrub_state.html", context)

    @display(description="Found", ordering="found_at")
    def found_shown(self, finding):
        return showing.moment(finding.found_at)

    @display(description="Last seen", ordering="seen_at")
    def seen_shown(self, finding):
        return showing.moment(finding.seen_at)

    @display(description="Healed at")
    def healed_shown(self, finding):
        return showing.moment(finding.healed_at)

    @display(description="Where")
    def place_shown(self, finding):
        return finding.target.name if finding.target else "This server"

    @display(description="Snapshot")
    def snapshot_shown(self, finding):
        """Whose snapshot the object belongs to, where it belongs to one."""
        what, _, number = finding.subject.partition(":")
        found = Snapshot.objects.filter(pk=number).select_related("machine").first() if what == "snapshot" else None
        if found is None:
            return showing.NOTHING
        link = reverse("admin:catalog_snapshot_change", args=[found.pk])
        words = f"{found.machine.name} as of {found.received_at:%Y-%m-%d %H:%M} UTC"
        return format_html('<a class="sr-next" href="{}">{}</a>', link, words)

    @display(description="Key")
    def key_shown(self, finding):
        return showing.code(finding.key)

    @display(description="State", ordering="state")
    def state_shown(self, finding):
        tone = TONES.get(FindingState(finding.state), "")
        return format_html('<span class="sr-badge sr-state-{}">{}</span>', tone, finding.get_state_display())

    @display(description="Healed")
    def how_shown(self, finding):
        return finding.how or showing.NOTHING


@admin.register(ScrubSettings)
class ScrubSettingsAdmin(PlatformModelAdmin):
    """When everything is re-read, and how fast: one row, so its list leads to it."""

    allowed = frozenset({"view", "change"})
    fieldsets = [
        ("How often", {"fields": ["every_days", "paused"]}),
        ("When and how fast", {"fields": ["from_hour", "to_hour", "mib_per_second", "at_once"]}),
        ("Last change", {"fields": ["changed_by", "changed_at"]}),
    ]
    readonly_fields = ["changed_by", "changed_at"]
    LABELS = {"every_days": "Everything within so many days", "from_hour": "From, hour (UTC)",
              "to_hour": "To, hour (UTC)", "at_once": "Side by side"}  # fmt: skip

    def get_form(self, request, obj=None, change=False, **kwargs):
        """The form, with labels that say in what a number counts."""
        return super().get_form(request, obj, change=change, **kwargs, labels=self.LABELS)

    def changelist_view(self, request, extra_context=None):
        """Straight to the one row, made with its defaults where it is not there yet."""
        if self.has_view_permission(request):
            ScrubSettings.objects.get_or_create(pk=1)
            return redirect(reverse("admin:upkeep_scrubsettings_change", args=[1]))
        return super().changelist_view(request, extra_context)

    def save_model(self, request, obj, form, change):
        """By the service, so that the audit tells."""
        change_settings(obj, actor=asking(request).name)


def judge(state: ScrubState) -> dict[str, str]:
    """One sentence about all that is stored: the worst that is true."""
    share = f"{state.share:.0%} of {state.copies:,} copies were read and matched within {state.every_days} days."
    if state.findings.get(FindingState.LOST):
        count = state.findings[FindingState.LOST]
        return _verdict("bad", "error", f"{count:,} damaged {_noun(count)} cannot be healed from what is stored.",
                        f"The machines are asked for what is missing; the list below names it. {share}")  # fmt: skip
    if state.findings.get(FindingState.OPEN):
        count = state.findings[FindingState.OPEN]
        return _verdict("warning", "healing", f"{count:,} damaged {_noun(count)} to be healed.",
                        f"It is tried again every hour. {share}")  # fmt: skip
    if not state.copies:
        return _verdict("empty", "flag", "Nothing is stored yet.", "Everything that is stored will be read in turn.")
    oldest = state.oldest_unverified
    if oldest is not None:
        return _verdict("warning", "schedule", "Not everything was read within the period.",
                        f"{share} The oldest reading is {showing.ago(oldest)}. Allow more hours or a higher rate.",
                        )  # fmt: skip
    return _verdict("good", "verified_user", "Everything was read and matched.", share)


def _noun(count: int) -> str:
    return "object" if count == 1 else "objects"


def _verdict(tone: str, icon: str, sentence: str, advice: str) -> dict[str, str]:
    return {"tone": tone, "icon": icon, "sentence": sentence, "advice": advice}


def _shown(place: PlaceState) -> dict[str, object]:
    return {
        "name": place.name,
        "copies": showing.number(place.copies),
        "size": showing.size(place.bytes) if place.bytes else showing.NOTHING,
        "share": f"{place.share:.1%}" if place.copies else showing.NOTHING,
        "oldest": showing.moment(place.oldest),
        "damaged": showing.number(place.damaged),
        "hurt": place.damaged > 0,
    }
