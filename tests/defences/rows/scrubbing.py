"""Scrub, heal and parity: damage is found at every place, and nothing is ever written over to mend it."""

from __future__ import annotations

from tests.defences.defence import defence
from tests.defences.removal import Edit

PACKS = "tests/upkeep/test_scrub_packs.py"
OBJECTS = "tests/upkeep/test_scrub_objects.py"
CODE = "tests/upkeep/test_parity_code.py"
FLIPS = "tests/upkeep/test_scrub_flips.py"
STANDING = "backup_platform.upkeep.heal_standing"
SOURCES = "backup_platform.upkeep.heal_sources"
LOOKING = "backup_platform.upkeep.scrub_packs"
PARITY = "backup_platform.upkeep.parity_code"

LEFTOVERS = "backup_platform.storage.local_leftovers"
TIDYING = "tests/storage/test_local_leftovers.py"
LIFECYCLES = "tests/upkeep/test_scrub_lifecycle.py"
LOOKING_AT_OBJECTS = "backup_platform.upkeep.scrub_objects"

ROWS = (
    defence(
        "leftovers-that-are-written",
        "law 1",
        "A hidden file that somebody is writing is no leftover of a power cut, however old it looks.",
        Edit(f"{LEFTOVERS}:_remove", "or not _is_nobodys(descriptor)", ""),
        f"{TIDYING}::test_what_is_being_written_stays_however_old_it_looks",
        f"{TIDYING}::test_what_another_process_writes_stays_until_that_process_has_died",
    ),
    defence(
        "leftovers-are-old",
        "law 1",
        "A young hidden file stays, for another host's locks may not be seen.",
        Edit(f"{LEFTOVERS}:_remove", "or now - touched < OLD_SECONDS", ""),
        f"{TIDYING}::test_a_young_file_stays",
    ),
    defence(
        "leftovers-without-locks",
        "law 7",
        "Where locks cannot be asked for, no hidden file is taken for a leftover.",
        Edit(f"{LEFTOVERS}:_is_nobodys", "return False", "pass"),
        f"{TIDYING}::test_where_locks_cannot_be_asked_for_nothing_is_removed_and_writing_goes_on",
    ),
    defence(
        "leftovers-and-new-files",
        "law 1",
        "A file that was removed in the moment before its writer locked it is made again.",
        Edit("backup_platform.storage.local:_new_file", "if os.fstat(descriptor).st_nlink:", "if True:"),
        f"{TIDYING}::test_a_file_that_was_removed_before_its_writer_locked_it_is_made_again",
        fails_as="base.NotFound",
    ),
    defence(
        "later-lifecycle-records",
        "law 2",
        "Every lifecycle record is read by scrub and healed, not the receipt alone.",
        Edit(
            f"{LOOKING_AT_OBJECTS}:scrub_snapshot",
            "_scrub_later_records(snapshot, places, {copy.target_id: copy.lifecycle for copy in copies}, result)",
            "pass",
        ),
        f"{LIFECYCLES}::test_every_record_is_healed_from_its_row[2-flip]",
        f"{LIFECYCLES}::test_every_record_is_healed_from_its_row[4-gone]",
    ),
    defence(
        "later-lifecycle-records-unread",
        "law 7",
        "A store that cannot be asked for more lifecycle records leaves the snapshot due.",
        Edit(f"{LOOKING_AT_OBJECTS}:_scrub_later_records", 'result.unread.append(f"{home.name}: {fault}")', "pass"),
        f"{LIFECYCLES}::test_a_store_that_cannot_be_asked_for_more_records_leaves_the_snapshot_due",
    ),
    defence(
        "scrub-reads-the-place-itself",
        "law 2",
        "A good copy elsewhere does not make a damaged file on this host pass for whole.",
        Edit(
            "backup_platform.catalog.verification:read_pack",
            "with open_local_file(pack) as file:",
            "from backup_platform.catalog.reading import open_pack_file\n"
            "        with open_pack_file(pack) as file:",
        ),
        f"{PACKS}::test_a_good_copy_elsewhere_does_not_make_this_hosts_file_whole",
    ),
    defence(
        "scrub-finds-flips",
        "law 2",
        "Every bit that flips in a copy, an object or parity is found.",
        Edit("backup_platform.catalog.pack_check:_read_through", "_agrees(data, entry)", "True",
             more=(("return _Pass(size, whole.digest())", "return _Pass(size, expected.digest)"),)),
        f"{PACKS}::test_a_damaged_copy_is_written_anew_from_this_host",
        f"{FLIPS}::test_every_flipped_bit_is_found_and_healed_and_none_is_ever_restored",
    ),
    defence(
        "scrub-away-is-not-damage",
        "law 7",
        "A target that cannot be asked says nothing about its copies.",
        Edit(f"{LOOKING}:_examine_copy", "note_away(copy.target, fault)", "return nothing_left(copy.pack, expected)"),
        f"{PACKS}::test_a_target_that_is_away_is_never_taken_for_damage",
    ),
    defence(
        "heal-before-telling",
        "law 2",
        "Damage that another copy mends at once reaches no snapshot.",
        Edit(f"{LOOKING}:settle_pack", "healing = heal_place(Place(pack))", "healing = Healing()"),
        f"{PACKS}::test_a_damaged_pack_is_healed_from_a_copy_before_any_snapshot_is_hurt",
    ),
    defence(
        "heal-never-overwrites",
        "law 1",
        "Healing puts a further file; what is damaged goes only after the row names the good one.",
        Edit(f"{STANDING}:_put", "store.put(key, good)", "store.put(key, good, only_if_absent=False)"),
        f"{PACKS}::test_healing_adds_and_proves_before_anything_goes",
    ),
    defence(
        "heal-reads-back",
        "law 1",
        "A healed file is read back before the row is switched to it.",
        Edit(f"{STANDING}:_put", "if not _reads_back(store, key, digest):", "if False:"),
        f"{PACKS}::test_bytes_that_read_back_differently_are_not_switched_to",
    ),
    defence(
        "heal-switches-under-the-lease",
        "law 1",
        "A pack that somebody else has taken meanwhile is not switched.",
        Edit("backup_platform.upkeep.heal_packs:_switch", "held(pack).filter(path=before",
             "Pack.objects.filter(pk=pack.pk).filter(path=before"),
        f"{PACKS}::test_a_pack_that_was_moved_meanwhile_is_not_switched",
    ),
    defence(
        "heal-source-by-digest",
        "law 8",
        "A copy is a source of healing only when its bytes have the pack's digest.",
        Edit(f"{SOURCES}:_copy_whole", "if whole.digest() != bytes(pack.digest):", "if False:"),
        f"{PACKS}::test_two_copies_damaged_in_different_records_heal_each_other",
    ),
    defence(
        "parity-result-by-digest",
        "law 8",
        "What parity gives counts only when the whole has the pack's own digest.",
        Edit(f"{SOURCES}:_by_parity", "and matches(out, bytes(pack.digest))", ""),
        f"{PACKS}::test_what_parity_gives_counts_only_with_the_packs_own_digest",
    ),
    defence(
        "parity-of-sound-bytes-only",
        "law 8",
        "Parity is made only of bytes that have the pack's digest.",
        Edit(f"{PARITY}:_table_of", "if whole.digest() != about.digest:", "if False:"),
        f"{CODE}::test_parity_is_never_made_of_damaged_bytes",
    ),
    defence(
        "parity-blocks-by-digest",
        "law 8",
        "A damaged block of parity is never computed with.",
        Edit(f"{PARITY}:_parity_block",
             "return block if block_digest(block) == head.parity_digests[at : at + BLOCK_DIGEST_SIZE] else None",
             "return block"),
        f"{CODE}::test_damaged_parity_is_counted_and_not_used",
    ),
    defence(
        "objects-from-where-they-are-right",
        "law 8",
        "An object is healed only from bytes that are right themselves.",
        Edit("backup_platform.upkeep.scrub_objects:_right_bytes", "if one.is_right(data):", "if True:"),
        f"{OBJECTS}::test_a_root_that_is_damaged_everywhere_is_healed_from_nowhere",
    ),
)  # fmt: skip
