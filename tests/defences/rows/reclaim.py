"""Reclaim: each half of law 3, and what compaction must not lose."""

from __future__ import annotations

from contextlib import contextmanager

from tests.defences.defence import defence
from tests.defences.removal import Edit, Swap, Words

RECLAIM = "tests/upkeep/test_reclaim.py"
COMPACT = "tests/upkeep/test_compact.py"
LOTS = "tests/upkeep/test_reclaim_lots.py"
RACES = "tests/upkeep/test_reclaim_races.py"
MODEL = "tests/upkeep/test_reclaim_model.py::test_no_order_of_events_loses_anything_that_is_needed[15-40]"
UPKEEP = "backup_platform.upkeep"


@contextmanager
def _plain_transaction(*_args, **_more):
    from django.db import transaction

    with transaction.atomic():
        yield


ROWS = (
    defence(
        "reclaim-check-at-commit",
        "law 3",
        "Whatever happened before, a commit is published only when all that it needs is there: the model finds out.",
        (
            Edit("backup_platform.catalog.commit:commit_snapshot", "if lacking:", "if False:"),
            Edit("backup_platform.catalog.commit:_decide", "if lacking:", "if False:"),
        ),
        MODEL,
    ),
    defence(
        "reclaim-union",
        "law 3",
        "Only what no bitmap names is condemned.",
        Edit(
            f"{UPKEEP}.condemning:_condemn_span",
            "numbers_between(vault.number, start, end, [ChunkState.LIVE]) - union.numbers",
            "numbers_between(vault.number, start, end, [ChunkState.LIVE])",
            more=(("_condemn_batch(round_, vault, batch - union.numbers)", "_condemn_batch(round_, vault, batch)"),),
        ),
        f"{RECLAIM}::test_a_round_without_anything_to_do_changes_nothing",
    ),
    defence(
        "reclaim-late-bitmaps",
        "law 3",
        "A bitmap that was stored while the round marked is added before each batch is condemned.",
        Edit(f"{UPKEEP}.condemning:_condemn_span", "union.catch_up()", "pass"),
        f"{RECLAIM}::test_a_bitmap_that_is_stored_while_a_round_marks_is_not_overlooked",
    ),
    defence(
        "reclaim-waits-for-sessions",
        "law 3",
        "Nothing is removed before every session that began before the condemnation has ended.",
        Edit(f"{UPKEEP}.removing:sessions_to_wait_for", "pk__in=round_.sessions", "pk__in=[]"),
        f"{RECLAIM}::test_what_an_open_session_was_told_is_there_is_not_removed_before_it_ends",
    ),
    defence(
        "reclaim-session-until-bitmap",
        "law 3",
        "A committed session is open until its snapshot's bitmap is stored, and so is its snapshot waited for.",
        (
            Swap("backup_platform.upkeep.removing:LAW_3_OPEN", ("open",)),
            Edit(f"{UPKEEP}.removing:snapshots_to_wait_for", "pk__in=round_.unsettled", "pk__in=[]"),
        ),
        f"{RECLAIM}::test_a_session_is_open_until_its_snapshots_bitmap_is_stored",
    ),
    defence(
        "reclaim-waits-for-snapshots",
        "law 3",
        "Nothing is removed before the needs of every snapshot of that time are known.",
        Edit(f"{UPKEEP}.removing:snapshots_to_wait_for", "pk__in=round_.unsettled", "pk__in=[]"),
        f"{RECLAIM}::test_a_snapshot_of_unknown_needs_that_no_session_holds_is_waited_for_too",
    ),
    defence(
        "reclaim-begin-under-lock",
        "law 3",
        "A begin is ordered against condemnation by the vault's lock.",
        Swap("backup_platform.catalog.sessions:vault_lock", _plain_transaction),
        f"{RACES}::test_a_begin_waits_while_chunks_are_condemned_and_is_told_that_they_are_missing",
        f"{RACES}::test_condemnation_waits_for_a_begin_that_is_on_its_way_and_then_for_its_session",
    ),
    defence(
        "reclaim-union-again",
        "law 3",
        "The union is computed again before anything is removed; what is needed again is revived.",
        Edit(
            f"{UPKEEP}.removing:_remove_batch",
            "revived = revive_numbers(vault.number, batch & needed)",
            "revived = 0",
            more=(("going = batch - needed", "going = batch"),),
        ),
        f"{RECLAIM}::test_the_union_is_computed_again_before_anything_is_removed",
    ),
    defence(
        "reclaim-arrived-again",
        "law 3",
        "What has arrived again is not removed.",
        Words(f"{UPKEEP}.removing:REMOVE_SQL", "AND NOT EXISTS", "AND true OR NOT EXISTS"),
        f"{RECLAIM}::test_what_arrives_again_is_revived_and_its_second_copy_is_kept",
    ),
    defence(
        "reclaim-own-arrivals",
        "law 3",
        "What an open session has sent itself is not condemned.",
        Words(f"{UPKEEP}.condemning:CONDEMN_SQL", "s.state IN ('open', 'committed')", "false"),
        f"{RECLAIM}::test_what_a_long_first_backup_has_sent_is_not_asked_for_again",
    ),
    defence(
        "reclaim-generation",
        "law 3",
        "Condemning raises the catalogue generation.",
        Edit(
            f"{UPKEEP}.condemning:_condemn_batch",
            'Vault.objects.filter(pk=vault.pk).update(generation=F("generation") + 1)',
            "pass",
        ),
        f"{RECLAIM}::test_condemning_raises_the_generation_so_that_caches_are_asked_about",
    ),
    defence(
        "completion-revives",
        "law 3",
        "Completion revives what was condemned after the commit.",
        Edit(
            "backup_platform.catalog.completion:_settle",
            "revive_numbers(snapshot.vault.number, needs.condemned)",
            "pass",
        ),
        f"{RECLAIM}::test_a_session_is_open_until_its_snapshots_bitmap_is_stored",
    ),
    defence(
        "revive-in-order",
        "law 3",
        "Two commits that revive the same chunks take them in one order.",
        Edit(
            "backup_platform.catalog.needs:find_lacking",
            "asked += ids",
            "_absent(vault_number, ids, condemned); revive and revive_numbers(vault_number, condemned)",
        ),
        f"{RACES}::test_two_commits_that_revive_the_same_chunks_do_not_deadlock",
    ),
    defence(
        "reclaim-needs-known",
        "law 7",
        "While a snapshot's needs are not known, nothing is taken away.",
        Edit(f"{UPKEEP}.marking:check_needs_known", "if named:", "if False:"),
        f"{RECLAIM}::test_a_damaged_snapshot_whose_needs_are_not_known_stops_the_round",
    ),
    defence(
        "reclaim-bitmap-checked",
        "law 7",
        "A bitmap that does not hold as many numbers as it should is not believed.",
        Edit(f"{UPKEEP}.marking:_read", " or len(numbers) != cardinality", ""),
        f"{RECLAIM}::test_a_bitmap_that_is_shorter_than_it_should_be_stops_the_round",
    ),
    defence(
        "reclaim-vanished",
        "law 7",
        "Fewer snapshots than the last round saw stop reclaim.",
        Edit(
            f"{UPKEEP}.guards:check_none_vanished",
            "if now.rows < expected.rows or now.counting < expected.counting:",
            "if False:",
        ),
        f"{RECLAIM}::test_vanished_snapshots_stop_the_round_until_somebody_accepts_it",
    ),
    defence(
        "reclaim-pause",
        "law 3",
        "A pause holds back everything that takes away.",
        Edit(f"{UPKEEP}.guards:pause_in_force", "if pause is None:", "if True:"),
        f"{RECLAIM}::test_a_pause_holds_back_everything[True]",
        f"{RECLAIM}::test_a_pause_holds_back_everything[False]",
        f"{COMPACT}::test_a_pause_holds_compaction_back_too",
    ),
    defence(
        "reclaim-grace",
        "law 3",
        "Files of packs go only after a grace.",
        Edit(f"{UPKEEP}.unlinking:unlink_due", "unlink_at__lte=timezone.now()", "unlink_at__isnull=False"),
        f"{RECLAIM}::test_a_pack_that_nothing_names_any_more_goes_with_its_file_after_the_grace",
        f"{COMPACT}::test_the_old_file_stays_for_the_grace_so_that_readers_find_it",
    ),
    defence(
        "reclaim-asks-again",
        "law 3",
        "Before a pack's files go it is asked once more whether anything names it.",
        Edit(f"{UPKEEP}.unlinking:_give_up", "named_packs(vault.number, list(still))", "set()"),
        f"{LOTS}::test_a_pack_that_is_named_again_within_its_grace_stays_and_the_others_go",
    ),
    defence(
        "reclaim-leaves-leased-packs",
        "law 3",
        "Files of a pack that somebody else works on stay.",
        Edit(
            "backup_platform.catalog.leases:pack_leases",
            "_free(Pack.objects.filter(pk__in=list(pack_ids)))",
            "Pack.objects.filter(pk__in=list(pack_ids))",
        ),
        f"{LOTS}::test_a_pack_that_somebody_works_on_is_left_for_later_and_the_others_go",
    ),
    defence(
        "compact-guarded-switch",
        "law 1",
        "Who was too slow cannot publish a pack whose files were tidied away.",
        Edit(
            f"{UPKEEP}.rewriting:_publish",
            "opened = held(new).filter(state=PackState.OPEN)",
            "opened = Pack.objects.filter(pk=new.pk)",
            more=(("if not published:", "if False:"),),
        ),
        f"{COMPACT}::test_who_was_too_slow_cannot_publish_a_pack_that_was_tidied_away",
        fails_as="models.DoesNotExist",
    ),
    defence(
        "compact-keeps-copies",
        "law 1",
        "A pack that was replaced keeps its copies until its successor has as many.",
        Edit(f"{UPKEEP}.unlinking:_copies_that_successors_lack", "if target}", "if False}"),
        f"{COMPACT}::test_a_pack_that_is_at_another_target_only_is_rewritten_too",
    ),
    defence(
        "compact-reads-digests",
        "law 2",
        "A damaged record is never copied into a new pack.",
        (
            Edit("backup_platform.catalog.reading:read_record", " or blake3(sealed).digest() != header.digest", ""),
            Edit(f"{UPKEEP}.rewriting:_place", "if not report.intact:", "if False:"),
        ),
        f"{COMPACT}::test_a_damaged_record_is_not_copied_and_nothing_changes",
    ),
)
