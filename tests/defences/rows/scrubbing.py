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

ROWS = (
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
