"""Storage under faults: power cuts, rot in open packs, listings that fail."""

from __future__ import annotations

from tests.defences.defence import defence
from tests.defences.removal import Edit

STORE = "backup_platform.storage.local"
CUTS = "tests/faults/test_storage_power_cuts.py::test_power_cut_before_any_call_loses_nothing_acknowledged"
ROTTEN = "tests/faults/test_rotten_open_packs.py"
BUCKET = "tests/tiering/test_bucket_faults.py"
RESYNC = "backup_platform.gateway.resync:scan"

ROWS = (
    defence(
        "power-cut-bytes-before-names",
        "law 1",
        "What a store has taken is on the disk before it has a name, so a power cut leaves no empty copy or root.",
        Edit(f"{STORE}:LocalStore.put", "os.fsync(descriptor)", "pass"),
        f"{CUTS}[committing]",
        f"{CUTS}[tiering]",
        fails_as="base.AlreadyThere",
    ),
    defence(
        "open-pack-resync",
        "law 1",
        "Good records behind a rotten one of an open pack are found by their rows and kept.",
        Edit(RESYNC, "later = bisect_right(starts, at)", "later = len(starts)"),
        f"{ROTTEN}::test_rotten_record_costs_nothing_but_itself[sealed-0]",
        f"{ROTTEN}::test_rotten_record_costs_nothing_but_itself[length-3]",
    ),
    defence(
        "open-pack-disk-away",
        "law 7",
        "A disk that gives nothing of an open pack is away: nothing is reported lost.",
        Edit(RESYNC, "if faults and not found:", "if False:"),
        f"{ROTTEN}::test_disk_that_gives_nothing_has_said_nothing",
    ),
    defence(
        "drain-list-error",
        "law 7",
        "A bucket that could not be listed is not taken for empty: it is not retired.",
        Edit(
            "backup_platform.tiering.forgetting:forget_objects",
            "except StoreError as fault:\n        raise TargetTrouble(str(fault)) from fault",
            "except StoreError:\n        pass",
        ),
        f"{BUCKET}::test_a_failed_listing_does_not_make_a_drained_bucket_empty",
    ),
)
