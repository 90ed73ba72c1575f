"""The last right bytes: what moves, drains, expires, restores or reads a store never takes or overlooks them."""

from __future__ import annotations

from tests.defences.defence import defence
from tests.defences.removal import Edit

MOVED = "tests/upkeep/test_scrub_of_moved_packs.py"
DRAIN = "tests/tiering/test_draining_last_copies.py"
SERIES = "tests/retention/test_last_good_of_a_series.py"
CLOCKS = "tests/retention/test_leaping_clocks.py"
CATCHING = "tests/rebuild/test_catching_up.py"
FROM_TARGET = "tests/rebuild/test_from_target_damage.py"
PLACES = "tests/targets/test_same_place.py"
SCRUB = "backup_platform.upkeep.scrub_packs"
DRAINING = "backup_platform.tiering.draining"

ROWS = (
    defence(
        "scrub-believes-a-whole-remote-copy",
        "law 7",
        "A pack that is at targets only, and was called damaged, is good again once a copy of it is whole.",
        Edit(f"{SCRUB}:_use_whole_copy", "if good.exists() and remote.exists():", "if False:"),
        f"{MOVED}::test_a_pack_whose_only_copy_is_whole_again_is_believed_again",
    ),
    defence(
        "scrub-of-what-has-left",
        "law 1",
        "A file that was evicted while a scrub read it says nothing about its pack.",
        Edit(f"{SCRUB}:settle_pack", "if not healing.how and _has_left(pack):", "if False:"),
        f"{MOVED}::test_a_pack_that_is_evicted_while_its_damaged_file_is_read_stays_good",
    ),
    defence(
        "heal-from-what-leaves",
        "law 1",
        "A copy that is to leave heals others until its object goes.",
        Edit("backup_platform.upkeep.heal_places:places_of", ", CopyState.LEAVING]", "]"),
        f"{MOVED}::test_a_copy_that_is_to_leave_still_heals_the_file_here",
    ),
    defence(
        "drain-reads-home-again",
        "law 1",
        "Before a drained copy's object goes, the file at home is read again: it may have rotted since.",
        Edit(
            f"{DRAINING}:_is_whole_at_home",
            "return bool(read_back(stores.local_target(), pack.path, pack))",
            "return True",
        ),
        f"{DRAIN}::test_a_copy_stays_when_the_file_at_home_rotted_within_the_hour",
    ),
    defence(
        "drain-compares-roots",
        "law 1",
        "A root goes from a drained target only if home holds the same bytes.",
        Edit(
            "backup_platform.tiering.forgetting:_stands_at_home",
            "return not key.endswith(ONLY_STORED) or _same(home, store, key)",
            "return True",
        ),
        f"{DRAIN}::test_a_root_stays_at_a_drained_target_while_the_one_at_home_is_another",
    ),
    defence(
        "evict-two-names-one-place",
        "law 1",
        "Two targets that are one place are one copy.",
        Edit(
            "backup_platform.targets.same_place:same_room",
            "return same_directory(directory_of(one), directory_of(other))",
            "return one.path == other.path",
        ),
        f"{DRAIN}::test_two_names_of_one_directory_are_one_copy",
        f"{PLACES}::test_a_directory_by_another_name_is_the_same_place",
    ),
    defence(
        "home-is-no-second-place",
        "law 1",
        "A target that lies in the home directory's own store holds no second copy.",
        Edit("backup_platform.tiering.copying:open_target", "if is_home_store(target):", "if False:"),
        f"{DRAIN}::test_a_target_that_is_the_home_directory_by_a_link_is_no_second_place",
    ),
    defence(
        "last-good-outlives-damage",
        "law 4",
        "The last good snapshot of a series stays although it has expired, while all that is newer is damaged.",
        Edit("backup_platform.retention.queries:reclaimable", ".exclude(_last_good())", ""),
        f"{SERIES}::test_what_expired_as_a_newer_one_was_good_stays_once_that_is_damaged[False]",
        f"{SERIES}::test_what_expired_as_a_newer_one_was_good_stays_once_that_is_damaged[True]",
    ),
    defence(
        "hold-in-one-order-with-reclaim",
        "law 4",
        "A hold and reclaim take their locks in the same order, so neither is broken off for the other.",
        Edit(
            "backup_platform.retention.holds:set_hold",
            "wait_for_reclaim(locks, tenant)  # before",
            "pass  # before",
            more=(
                (
                    "_check_times(hold, timezone.now())",
                    "wait_for_reclaim(locks, tenant); _check_times(hold, timezone.now())",
                ),
            ),
        ),
        f"{SERIES}::test_a_hold_that_is_set_while_snapshots_are_retired_waits_and_is_set",
        fails_as="OperationalError",
    ),
    defence(
        "leaping-clock-rests",
        "law 4",
        "Nothing expires, ends or is given up by a clock that has leapt.",
        Edit(
            "backup_platform.retention.clocks:_has_leapt",
            "return not -BACK <= now - row.seen_at <= AHEAD",
            "return False",
        ),
        f"{CLOCKS}::test_nothing_ends_by_a_clock_that_has_leapt[True]",
        f"{CLOCKS}::test_nothing_ends_by_a_clock_that_has_leapt[False]",
    ),
    defence(
        "rebuild-broken-story",
        "law 7",
        "An expiry counts only if what came after it can be read.",
        Edit(
            "backup_platform.rebuilding.snapshots:_counting",
            "None if fate.fault and not objects.gone else fate.expiry",
            "fate.expiry",
        ),
        f"{CATCHING}::test_an_expiry_whose_sequel_cannot_be_read_does_not_count[damaged]",
        f"{CATCHING}::test_an_expiry_whose_sequel_cannot_be_read_does_not_count[gone]",
    ),
    defence(
        "rebuild-days-anew",
        "law 4",
        "What a rebuilt catalogue calls expired can be brought back for all its days again.",
        Edit(
            "backup_platform.rebuilding.snapshots:MachineSnapshots._make",
            "if snapshot.state == SnapshotState.EXPIRED:",
            "if False:",
        ),
        f"{CATCHING}::test_what_had_expired_can_be_brought_back_for_all_its_days_again",
    ),
    defence(
        "restore-pauses-reclaim",
        "law 3",
        "A platform that came back from its backup reclaims nothing until somebody says so.",
        Edit(
            "backup_platform.rebuilding.platform_backup.restoring:put_in_place",
            "pause_reclaim(None, by=actor, reason=PAUSE_REASON)",
            "pass",
        ),
        f"{CATCHING}::test_a_restored_platform_reclaims_nothing_until_somebody_says_so",
    ),
    defence(
        "rebuild-brings-back",
        "law 4",
        "What was brought back after the platform's backup is there again.",
        Edit(
            "backup_platform.rebuilding.rebuild:_rebuild_vault",
            "bring_back_again(vault, files, keeper, report)",
            "pass",
        ),
        f"{CATCHING}::test_what_was_brought_back_after_the_backup_is_there_again",
    ),
    defence(
        "rebuild-looks-at-missing-packs",
        "law 1",
        "A pack that the catalogue names and the store lacks is looked at before another copy is taken for a spare.",
        Edit("backup_platform.rebuilding.catching_up:look_at_missing_packs", "if uid not in files.packs:", "if False:"),
        f"{CATCHING}::test_a_pack_that_went_after_the_backup_is_looked_at_at_once",
    ),
    defence(
        "from-target-rotten-record",
        "law 7",
        "A lifecycle record that cannot be read hides no snapshot of a store.",
        Edit("agents.from_target.vault:_event_in", "return None\n", "raise\n"),
        f"{FROM_TARGET}::test_lifecycle_record_that_cannot_be_read_hides_no_snapshot[damaged]",
        fails_as="FormatError",
    ),
    defence(
        "from-target-bad-sector",
        "law 7",
        "A sector of a store's disk that cannot be read costs what lies on it.",
        Edit("agents.from_target.directory:_of_the_medium", "if fault.errno not in OF_THE_MEDIUM:", "if True:"),
        f"{FROM_TARGET}::test_sector_that_cannot_be_read_costs_what_lies_on_it[a record]",
        f"{FROM_TARGET}::test_sector_that_cannot_be_read_costs_what_lies_on_it[the index]",
    ),
)
