"""Expiry: what always stays, what waits, what stops, and whose it is."""

from __future__ import annotations

from tests.defences.defence import defence
from tests.defences.removal import Edit

PLANNING = "tests/retention/test_planning.py"
SHRINKING = "tests/retention/test_shrinking.py"
EXPIRING = "tests/retention/test_expiring.py"
EXTENDING = "tests/retention/test_extending_holds.py"
SERVICES = "tests/retention/test_services.py"
LIFECYCLE = "tests/retention/test_lifecycle.py"
RETENTION = "backup_platform.retention"

ROWS = (
    defence(
        "last-good-one-stays",
        "law 4",
        "The newest good snapshot of a series never expires, whatever the rules say.",
        Edit(f"{RETENTION}.planning:_keep_last_good", "newest.stays(LAST_GOOD)", "pass"),
        f"{EXPIRING}::test_the_last_good_one_stays_though_it_is_older_than_every_rule",
    ),
    defence(
        "holds-are-in-the-plan",
        "law 4",
        "What a hold covers stays, by rules and by hand.",
        Edit(f"{RETENTION}.planning:_protect", "if facts.holds:", "if False:"),
        f"{PLANNING}::test_what_is_held_too_young_or_not_verified_yet_always_stays",
    ),
    defence(
        "holds-are-asked-again",
        "law 4",
        "The marking itself asks for holds again, so that a decision that was made before one expires nothing.",
        Edit(f"{RETENTION}.expiring:_mark", "rows.exclude(held(tenant_id, now))", "rows"),
        f"{EXPIRING}::test_a_hold_that_comes_after_the_decision_still_holds",
    ),
    defence(
        "extensions-end-later",
        "law 4",
        "Extending a hold lets nothing go earlier, so it is no way around a second person.",
        Edit(f"{RETENTION}.holds_extending:_check", "if until is not None and until <= row.until:", "if False:"),
        f"{EXTENDING}::test_an_extension_ends_later_and_nothing_else",
    ),
    defence(
        "extensions-still-take-two",
        "law 4",
        "A hold whose release takes two persons keeps that when it is extended.",
        Edit(f"{RETENTION}.holds_extending:extend_hold", "row.needs_second or", "False or"),
        f"{EXTENDING}::test_a_hold_that_takes_two_persons_still_does_after_an_extension",
    ),
    defence(
        "holds-are-bounded",
        "law 10",
        "A tenant has so many holds in force and no more.",
        Edit(f"{RETENTION}.holds:set_hold", "_check_number(tenant)", "pass"),
        f"{SERVICES}::test_holds_are_bounded_and_those_that_have_ended_make_room",
    ),
    defence(
        "releases-take-two",
        "law 4",
        "Where two persons must agree, one alone does not release a hold, though the rule was switched off meanwhile.",
        Edit(f"{RETENTION}.holds:_needs_another", "row.needs_second or", "False or"),
        f"{SERVICES}::test_a_second_person_releases_where_the_tenant_asks_for_it",
    ),
    defence(
        "minimum-age",
        "law 4",
        "No snapshot expires before its minimum age.",
        Edit(f"{RETENTION}.planning:_protect", "if facts.minimum_days and now < oldest:", "if False:"),
        f"{EXPIRING}::test_a_minimum_age_holds_back_what_rules_drop",
    ),
    defence(
        "minimum-age-is-a-promise",
        "law 4",
        "A shorter minimum age counts for new snapshots only.",
        Edit(f"{RETENTION}.shrinking:minimum_days", "days = max(days, entry)", "days = entry"),
        f"{SHRINKING}::test_a_shorter_minimum_age_counts_for_new_snapshots_only",
    ),
    defence(
        "shrinking-waits",
        "law 4",
        "Rules that keep less take effect after the delay, whichever way a policy was changed.",
        Edit(
            f"{RETENTION}.shrinking:follow",
            "in_force = joined((standing.in_force, wanted))",
            "in_force = wanted",
        ),
        f"{SHRINKING}::test_keeping_less_takes_effect_after_the_delay",
        f"{EXPIRING}::test_rules_that_keep_less_wait_before_they_bite",
        f"{EXPIRING}::test_an_assignment_is_no_way_around_the_delay",
    ),
    defence(
        "deleted-policies-are-handed-over",
        "law 4",
        "Deleting a policy does not put its snapshots under shorter rules at once.",
        Edit(f"{RETENTION}.watching:_hand_over", "joined((before.in_force, going.in_force))", "before.in_force"),
        f"{EXPIRING}::test_deleting_a_policy_is_no_way_around_the_delay",
    ),
    defence(
        "mass-expiry-stops",
        "law 4",
        "A run that would drop most of a machine's good snapshots stops and asks a person.",
        Edit(f"{RETENTION}.guarding:is_suspicious", "len(asked) * 100 <= good * percent", "True"),
        f"{EXPIRING}::test_a_run_that_would_drop_most_of_a_machine_stops_and_asks",
    ),
    defence(
        "delays-are-not-shortened",
        "law 4",
        "Nobody in a tenant makes the platform's delays shorter.",
        Edit(f"{RETENTION}.services:set_rules", "values[name] < least", "False"),
        f"{SERVICES}::test_nobody_in_a_tenant_shortens_the_platforms_delays",
    ),
    defence(
        "by-hand-as-by-rule",
        "law 4",
        "By hand nothing expires that is held, too young, not verified or the last good one.",
        Edit(f"{RETENTION}.services:expire_by_hand", "_check_may_go(judged, decision)", "pass"),
        f"{SERVICES}::test_by_hand_nothing_goes_that_must_stay",
    ),
    defence(
        "brought-back-is-checked",
        "law 2",
        "What comes back counts as good only if no damage was found in its vault since.",
        Edit(f"{RETENTION}.services:_state_now", "expiry.generation == generation", "True"),
        f"{SERVICES}::test_one_that_may_have_been_damaged_meanwhile_is_checked_before_it_counts_as_good",
    ),
    defence(
        "expiry-asks-for-reach",
        "law 5",
        "Another tenant's snapshot is missing for whoever asks to expire it.",
        Edit(f"{RETENTION}.services:expire_by_hand", "allowed(by, MANAGE, snapshot)", "str(by)"),
        f"{SERVICES}::test_only_those_who_manage_snapshots_expire_them_and_only_their_own",
    ),
    defence(
        "holds-stay-in-their-tenant",
        "law 5",
        "A hold covers its own tenant's snapshots only.",
        Edit(f"{RETENTION}.holding:covered", "Q(tenant_id=hold.tenant_id)", "Q(pk__isnull=False)"),
        f"{EXPIRING}::test_another_tenants_hold_keeps_nothing_here",
    ),
    defence(
        "lifecycle-is-a-chain",
        "law 9",
        "Each lifecycle record names the one before by its digest.",
        Edit(f"{RETENTION}.lifecycle:_put", "blake3(held).digest()", "bytes(DIGEST_SIZE)"),
        f"{LIFECYCLE}::test_each_record_names_the_one_before",
    ),
)
