"""The pages of storage: a target is used once found good, a pause is ended by whose it is, shared stays shared."""

from __future__ import annotations

from tests.defences.defence import defence
from tests.defences.removal import Edit

TARGETS = "backup_platform.targets"
UPKEEP = "backup_platform.upkeep"
PROBING = "tests/targets/test_probing.py"
PAGE = "tests/upkeep/test_reclaim_page.py"
PLACES = "tests/tiering/test_places_page.py"

ROWS = (
    defence(
        "target-new-until-probed",
        "law 2",
        "Nothing is copied to a target before a probe has found it good.",
        Edit(f"{TARGETS}.services:create_target", "TargetState.NEW", "TargetState.ACTIVE"),
        f"{PROBING}::test_nothing_is_copied_to_a_target_before_a_probe_found_it_good",
    ),
    defence(
        "target-found-as-it-is",
        "law 2",
        "What a probe found does not hold for a target that was changed meanwhile.",
        Edit(f"{TARGETS}.probe:_keep", "if not _same(row, target):", "if False:"),
        f"{PROBING}::test_what_was_found_before_somebody_changed_the_target_is_not_kept",
    ),
    defence(
        "reclaim-pause-of-staff",
        "law 3",
        "A member of a tenant does not end a pause of the platform's people.",
        Edit(f"{UPKEEP}.services:resume_reclaim", "if found.by_staff and not staff:", "if False:"),
        f"{PAGE}::test_a_member_does_not_end_what_the_operator_paused_for_the_tenant",
    ),
    defence(
        "reclaim-pause-told",
        "law 5",
        "What staff wrote about a pause is not told to tenants.",
        Edit(f"{UPKEEP}.guards:pause_in_force", "if pause.by_staff and not for_staff:", "if False:"),
        f"{PAGE}::test_the_platforms_pause_holds_everywhere_and_no_tenant_ends_it_or_reads_its_reason",
    ),
    defence(
        "reclaim-pause-rights",
        "roles",
        "Only who may change targets pauses reclaim.",
        Edit(
            f"{UPKEEP}.admin.reclaim_pages:ReclaimRoundAdmin._may_act",
            'return may(asking(request), "change", self.model._meta.label)',
            "return True",
        ),
        f"{PAGE}::test_who_may_not_change_targets_neither_pauses_nor_resumes[operator-False]",
    ),
    defence(
        "shared-target-own-figures",
        "law 5",
        "Of a shared target a tenant sees no id and no way to its page.",
        Edit("backup_platform.tiering.places_page:_shown", '"" if place.shared else', '"" if False else'),
        f"{PLACES}::test_a_shared_target_is_seen_without_what_is_the_platforms_or_others",
    ),
)
