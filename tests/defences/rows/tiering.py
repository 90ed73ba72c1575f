"""Tiering: what makes a copy count, and what must hold before a local one goes."""

from __future__ import annotations

from tests.defences.defence import defence
from tests.defences.removal import Edit

COPYING = "backup_platform.tiering.copying"
EVICTING = "backup_platform.tiering.evicting"
DRAINING = "backup_platform.tiering.draining"
COPY = "tests/tiering/test_copying.py"
EVICT = "tests/tiering/test_evicting.py"
DRAIN = "tests/tiering/test_draining.py"
READ = "tests/tiering/test_reading_remote.py"
HOME_GONE = "tests/end_to_end/test_home_is_gone.py"

ROWS = (
    defence(
        "copy-read-back-before-good",
        "law 2",
        "A copy counts only after its bytes were read back and matched.",
        Edit(f"{COPYING}:copy_to", "return _mark(copy, pack, good=there)", "return _mark(copy, pack, good=True)"),
        f"{COPY}::test_a_target_that_keeps_other_bytes_than_it_was_given_gets_no_good_copy",
        f"{COPY}::test_other_bytes_under_the_key_are_neither_overwritten_nor_counted",
    ),
    defence(
        "copy-source-checked",
        "law 2",
        "What rotted on this host is not spread: the first copy's pass compares the pack with its digest.",
        Edit(f"{COPYING}:_check_source", "if not found.are_of(pack):", "if False:"),
        f"{COPY}::test_a_pack_that_rotted_on_this_host_is_not_spread",
    ),
    defence(
        "copy-tenants-targets",
        "law 5",
        "A pack is never put at another tenant's target.",
        Edit(f"{COPYING}:copy_to", "if not may_hold(target, pack.tenant_id):", "if False:"),
        f"{COPY}::test_a_pack_is_never_copied_to_another_tenants_target",
    ),
    defence(
        "evict-read-back",
        "law 1",
        "A local file may go only after other copies were read back just before.",
        Edit(
            f"{EVICTING}:is_good",
            "there = read_back(open_target(copy.target), copy.key, pack, heartbeat)",
            "there = True",
        ),
        f"{EVICT}::test_a_copy_that_was_good_and_rotted_since_keeps_the_local_file",
    ),
    defence(
        "evict-good-only",
        "law 1",
        "Only copies that are *good* count.",
        (
            Edit("backup_platform.catalog.pack_files:good_copies", ", state=CopyState.GOOD", ""),
            Edit(f"{EVICTING}:_switch", ", state=CopyState.GOOD", ""),
        ),
        f"{EVICT}::test_a_copy_that_is_not_good_does_not_count[damaged]",
    ),
    defence(
        "evict-counts-at-the-switch",
        "law 1",
        "The switch looks at the copies' rows once more, in its own transaction.",
        Edit(f"{EVICTING}:_switch", "if len(good) < needed:", "if False:"),
        f"{EVICT}::test_a_copy_that_stopped_being_good_meanwhile_stops_the_switch",
    ),
    defence(
        "evict-guarded-switch",
        "law 1",
        "The place is switched only while the pack's lease is held.",
        Edit("backup_platform.catalog.leases:held", ", lease_owner=pack.lease_owner", ""),
        f"{EVICT}::test_a_lease_that_was_lost_meanwhile_switches_nothing",
    ),
    defence(
        "evict-delayed-unlink",
        "law 1",
        "An evicted file is unlinked an hour after the switch.",
        Edit(f"{EVICTING}:unlink_due", "unlink_at__lte=now or timezone.now()", "pk__gt=0"),
        f"{EVICT}::test_the_file_stays_for_an_hour_after_the_switch",
    ),
    defence(
        "evict-counts-before-unlinking",
        "law 1",
        "Copies that were lost within the hour keep the file.",
        Edit(f"{EVICTING}:_unlink", "if pack.place == PackPlace.REMOTE and not copies:", "if False:"),
        f"{EVICT}::test_copies_that_are_lost_within_the_hour_keep_the_file",
    ),
    defence(
        "drain-elsewhere-first",
        "law 1",
        "A copy leaves a drained target only after another place was read and has the pack.",
        Edit(
            f"{DRAINING}:_let_go",
            "if pack.place != PackPlace.GONE and not _is_held_elsewhere(pack, copy):",
            "if False:",
        ),
        f"{DRAIN}::test_a_copy_stays_while_no_other_place_could_be_read",
    ),
    defence(
        "drain-counts-before-deleting",
        "law 1",
        "An object at a drained target stays when the other places were lost within the hour.",
        Edit(
            f"{DRAINING}:_remove",
            "if pack.place != PackPlace.GONE and not _still_stands_elsewhere(pack, copy):",
            "if False:",
        ),
        f"{DRAIN}::test_a_copy_that_was_let_go_counts_again_when_the_others_are_lost",
    ),
    defence(
        "remote-error-is-not-absence",
        "law 7",
        "A target that is away has not said that it lost a pack.",
        Edit("backup_platform.catalog.remote_files:RemoteFile._ask", "if away:", "if False:"),
        f"{READ}::test_targets_that_are_away_say_nothing_about_the_pack",
        f"{READ}::test_one_target_that_is_away_and_one_that_lost_it_say_nothing_either",
        fails_as="errors.RecordLost",
    ),
    defence(
        "remote-cold-is-not-lost",
        "law 7",
        "A pack that is cold at its target is neither lost nor damaged.",
        Edit("backup_platform.catalog.remote_files:RemoteFile._ask", "if cold:", "if False:"),
        f"{READ}::test_a_pack_in_a_cold_class_is_neither_called_lost_nor_asked_for_by_reading",
        fails_as="errors.RecordLost",
    ),
    defence(
        "root-error-is-not-absence",
        "law 7",
        "A root is lost only when every place of it has answered: a target that is away leaves it open.",
        Edit("backup_platform.catalog.object_reading:read_object", "if away:", "if False:"),
        f"{HOME_GONE}::test_a_bucket_that_is_away_or_rotten_is_not_believed",
    ),
    defence(
        "root-by-its-digest",
        "law 8",
        "What a target gives for a root counts only if it is the root that was committed.",
        Edit("backup_platform.catalog.object_reading:read_object", "and right(data)", ""),
        f"{HOME_GONE}::test_a_bucket_that_is_away_or_rotten_is_not_believed",
    ),
    defence(
        "remote-any-copy",
        "law 8",
        "A record that does not match its digest is read from another place; wrong bytes never come back.",
        Edit("backup_platform.catalog.reading:_from_any_place", "if record is not None:", "if True:"),
        f"{READ}::test_a_rotten_copy_costs_nothing_while_another_is_whole",
    ),
    defence(
        "thaw-refused-ends",
        "law 10",
        "What cold storage does not give is not asked for again and again before what is behind it.",
        Edit("backup_platform.tiering.thawing:_look", "_note_looked(copies)", "pass"),
        "tests/tiering/test_thawing_refused.py::test_packs_that_cannot_be_had_end_the_asking_and_hide_no_other[refused]",
    ),
    defence(
        "bring-home-paced",
        "law 10",
        "A target that trickles does not hold a drain that brings a pack home from it.",
        Edit("backup_platform.tiering.recalling:_fetch", "at_least(pack.bytes, heartbeat)", "suppress()"),
        "tests/tiering/test_slow_targets.py::test_a_pack_is_brought_home_at_the_same_pace",
    ),
    defence(
        "objects-places-not-asked",
        "law 7",
        "With more places than are asked, an object that none of these has is not called lost.",
        Edit("backup_platform.catalog.object_reading:_places", "if number == MOST_PLACES:", "if False:"),
        "tests/upkeep/test_object_places.py::test_with_more_places_than_are_asked_nothing_is_called_lost",
    ),
)
