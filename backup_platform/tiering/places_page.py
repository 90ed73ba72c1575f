"""Where a tenant's packs are, its own targets and the platform's shared ones: above the list of targets.

Of a shared target it shows the name, how it stands, and the tenant's own figures: no place, no credentials, nothing of
other tenants.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpResponse
from django.template.loader import render_to_string
from django.urls import reverse

from backup_platform.console import showing
from backup_platform.console.standing import Standing
from backup_platform.targets.models import TargetState
from backup_platform.tiering.cold_page import under_way
from backup_platform.tiering.models import TierRule
from backup_platform.tiering.queries import AtTarget, Storage, lost_packs, storage_of
from backup_platform.tiering.rules import rules_of
from backup_platform.tiering.words import copy_words, packs_words

STATES = {
    TargetState.NEW: ("waits for its probe", "received"),
    TargetState.ACTIVE: ("in use", "verified"),
    TargetState.PAUSED: ("paused", "warning"),
    TargetState.DRAINING: ("being emptied", "received"),
}


def places_of(tenant_id: UUID, *, may_add: bool) -> HttpResponse:
    """The part of the page, for one tenant. `may_add`: whoever looks may add targets."""
    storage = storage_of(tenant_id)
    rules = {rule.target_id: rule for rule in rules_of(tenant_id)}
    context = {
        "standing": judge(storage, lost_packs(tenant_id), may_add=may_add),
        "here": {"packs": showing.number(storage.here_packs), "size": showing.size(storage.here_bytes)},
        "thawing": under_way(tenant_id),
        "places": [_shown(place, rules.get(place.target)) for place in storage.targets],
    }
    return HttpResponse(render_to_string("tiering/places.html", context))


def judge(storage: Storage, lost: int, *, may_add: bool) -> Standing:
    """Whether anything cannot be read, or one fault may take it: one sentence with the next step, the worst first."""
    if not storage.packs:
        return Standing("empty", "flag", "Nothing is stored yet.", "The first backup brings the first pack.")
    if lost:
        packs = "1 pack has" if lost == 1 else f"{lost:,} packs have"
        return Standing("bad", "error", f"{packs} no good copy in any place.",
                        "Snapshots that need them cannot be restored whole; Scrub says what is tried.",
                        reverse("admin:upkeep_scrubfinding_changelist"), "Scrub")  # fmt: skip
    away = [place.name for place in storage.targets if place.away_since]
    if away:
        named = away[0] if len(away) == 1 else f"{len(away):,} targets"
        return Standing("warning", "cloud_off", f"{named} {'does' if len(away) == 1 else 'do'} not answer.",
                        "New packs wait; what lies only there cannot be restored before it answers.")  # fmt: skip
    if not storage.single_bytes:
        return Standing("good", "file_copy", "Everything is in two places or more.")
    alone = f"{showing.size(storage.single_bytes)} of {showing.size(storage.bytes)}"
    if not storage.targets:
        return Standing("warning", "home_storage", f"{alone} lie in one place only: this server.",
                        "One fire takes all of it. Add a bucket or a second disk, and a tier rule that copies there.",
                        reverse("admin:targets_target_add") if may_add else "", "Add a target")  # fmt: skip
    return Standing("warning", "file_copy", f"{alone} lie in one place only.",
                    "Tier rules copy packs elsewhere; what is due is copied in turn.",
                    reverse("admin:tiering_tierrule_changelist"), "Tier rules")  # fmt: skip


def _shown(place: AtTarget, rule: TierRule | None) -> dict[str, Any]:
    word, tone = STATES[TargetState(place.state)]
    away = place.away_since is not None
    late = f"{packs_words(place.lacking_packs)}, {showing.duration(place.lag_seconds)}"
    return {
        "name": place.name,
        "link": "" if place.shared else reverse("admin:targets_target_change", args=[place.target]),
        "whose": "shared by the platform" if place.shared else "your own",
        "state": "away" if away else word,
        "since": f"since {place.away_since[:16].replace('T', ' ')} UTC" if place.away_since else "",
        "tone": "damaged" if away else tone,
        "rule": copy_words(rule) if rule else "by no rule",
        "packs": showing.number(place.copies),
        "size": showing.size(place.bytes),
        "damaged": place.damaged,
        "behind": late if place.lacking_packs else "nothing" if rule else showing.NOTHING,
        "cost": f"{place.cost} {place.currency}".strip() if place.cost is not None else showing.NOTHING,
    }
