"""The catalogue: what counts as there, as good, and as needed."""

from __future__ import annotations

from tests.defences.defence import defence
from tests.defences.removal import Edit, Swap, Words

WRITE_ONLY = "tests/gateway/test_write_only.py"
WAY = "tests/catalog/test_way_of_a_backup.py"
DAMAGE = "tests/catalog/test_damage.py"
PRESENT = "tests/catalog/test_present.py"
SESSIONS = "tests/catalog/test_sessions.py"
RACES = "tests/catalog/test_races.py"
FAULTS = "tests/catalog/test_commit_faults.py"
JOBS = "tests/jobs/test_life_of_a_job.py"
DISPATCH = "tests/jobs/test_dispatch.py"
LOCAL = "tests/storage/test_local.py"
CONTRACT = "tests/storage/test_contract.py"
COMMIT = "backup_platform.catalog.commit"
PROPOSALS = "backup_platform.catalog.proposals"
FITS = f"{WAY}::test_a_statement_that_does_not_fit_is_refused"
STORE = "backup_platform.storage.local"
THROUGH = "backup_platform.catalog.pack_check:_read_through"

ROWS = (
    defence(
        "fence-on-arrivals",
        "law 3",
        "An older connection's fence lets no arrival row in.",
        Edit("backup_platform.catalog.arrivals:_touch", "fence=fence, ", ""),
        f"{SESSIONS}::test_an_older_connection_can_write_nothing_more",
        "tests/gateway/test_sessions.py::test_older_connection_on_another_gateway_can_write_nothing_more",
    ),
    defence(
        "fence-on-commit",
        "law 3",
        "An older connection's fence commits nothing.",
        Edit(f"{COMMIT}:_live", "fence=fence, ", ""),
        f"{WAY}::test_a_commit_under_an_old_fence_is_refused",
        "tests/gateway/test_sessions.py::test_older_connection_on_another_gateway_cannot_commit",
    ),
    defence(
        "fence-on-lease",
        "law 3",
        "An older connection's fence renews and releases nothing.",
        Edit("backup_platform.catalog.sessions:_held", "fence=fence, ", ""),
        f"{SESSIONS}::test_renewing_prolongs_the_lease_and_fails_after_a_takeover",
        f"{SESSIONS}::test_releasing_with_an_old_fence_does_nothing",
    ),
    defence(
        "fence-raised-by-takeover",
        "law 3",
        "Each takeover raises the fence.",
        Edit("backup_platform.catalog.sessions:_take_over", 'fence=F("fence") + 1,', ""),
        f"{SESSIONS}::test_after_the_lease_a_begin_takes_over_with_a_higher_fence",
        f"{SESSIONS}::test_an_older_connection_can_write_nothing_more",
    ),
    defence(
        "one-session-a-machine",
        "law 3",
        "While a backup is live, a second one of the machine is busy.",
        Edit("backup_platform.catalog.sessions:_take_over", ".filter(over)", ""),
        f"{SESSIONS}::test_a_second_backup_while_one_is_live_is_busy_and_says_for_how_long",
    ),
    defence(
        "sessions-hold-on",
        "law 3",
        "A session is abandoned only after fourteen idle days.",
        Edit(
            "backup_platform.catalog.sessions:abandon_idle_sessions",
            "last_seen_at__lt=now - ABANDONED_AFTER",
            "last_seen_at__lt=now",
        ),
        f"{SESSIONS}::test_sessions_are_abandoned_after_fourteen_idle_days_only",
    ),
    defence(
        "arrivals-in-own-open-pack",
        "law 1",
        "Rows are written only for an open pack of their own session.",
        Edit(
            "backup_platform.catalog.arrivals:record_arrivals",
            "if pack is None or pack.state != PackState.OPEN:",
            "if False:",
        ),
        f"{SESSIONS}::test_nothing_arrives_in_a_sealed_or_foreign_pack",
    ),
    defence(
        "commit-checks-needs",
        "law 3",
        "A commit whose ids are not all present publishes nothing: looked at again under the lock.",
        Edit(f"{COMMIT}:_decide", "if lacking:", "if False:"),
        f"{FAULTS}::test_what_went_missing_between_the_question_and_the_decision_is_noticed_under_the_lock",
    ),
    defence(
        "commit-asks-first",
        "law 3",
        "A commit that lacks something leaves nothing in the store.",
        Edit("backup_platform.catalog.commit:commit_snapshot", "if lacking:", "if False:"),
        f"{WAY}::test_a_commit_with_a_missing_chunk_names_it_and_publishes_nothing",
    ),
    defence(
        "commit-under-lock",
        "law 3",
        "A commit waits for whoever takes presence away (the vault's lock).",
        Swap("backup_platform.catalog.commit:vault_lock", lambda number, shared: _plain_transaction()),
        f"{RACES}::test_a_commit_waits_for_whoever_takes_presence_away",
    ),
    defence(
        "commit-revives",
        "law 3",
        "A condemned chunk that a commit needs is revived.",
        Words("backup_platform.catalog.needs:REVIVE_SQL", "SET state = 0", "SET state = 1"),
        f"{WAY}::test_a_condemned_chunk_is_revived_by_the_commit_that_needs_it",
    ),
    defence(
        "condemned-is-missing",
        "law 3",
        "Condemned and damaged ids are answered missing.",
        Words("backup_platform.catalog.present:PRESENT_SQL", "AND state = 0", ""),
        f"{PRESENT}::test_condemned_and_damaged_ids_are_answered_missing[1]",
        f"{PRESENT}::test_condemned_and_damaged_ids_are_answered_missing[2]",
    ),
    defence(
        "arrivals-are-present",
        "law 3",
        "What has arrived is present before deduplication, in any session.",
        Words(
            "backup_platform.catalog.present:PRESENT_SQL",
            "SELECT id FROM catalog_arrival WHERE",
            "SELECT id FROM catalog_arrival WHERE false AND",
        ),
        f"{PRESENT}::test_an_id_is_present_from_its_arrival_through_deduplication",
        f"{WAY}::test_two_machines_of_a_vault_share_chunks",
    ),
    defence(
        "base-undamaged",
        "law 3",
        "Blocks are taken on trust only from a live, undamaged base.",
        Edit(
            "backup_platform.catalog.sessions:find_base",
            ", state__in=[SnapshotState.RECEIVED, SnapshotState.VERIFIED]",
            "",
        ),
        f"{WAY}::test_blocks_of_a_damaged_base_are_looked_at",
    ),
    defence(
        "base-looked-at",
        "law 3",
        "A damaged base's blocks are looked at again, so that a commit cannot build on what is gone.",
        (
            Edit(
                "backup_platform.catalog.sessions:find_base",
                ", state__in=[SnapshotState.RECEIVED, SnapshotState.VERIFIED]",
                "",
            ),
            Edit(
                "backup_platform.catalog.commit:_trusted_base", "if base.state == SnapshotState.VERIFIED:", "if True:"
            ),
        ),
        f"{WAY}::test_a_commit_on_a_damaged_base_names_what_is_gone",
    ),
    defence(
        "base-unharmed",
        "law 3",
        "A base without a bitmap is trusted only while the vault's generation is that of its session.",
        Edit("backup_platform.catalog.commit:_trusted_base", "return base if unharmed else None", "return base"),
        f"{WAY}::test_a_commit_on_a_base_that_damage_met_unseen_names_what_is_gone",
    ),
    defence(
        "commit-signature",
        "statement",
        "The gateway takes no statement that its machine did not sign.",
        Edit(f"{PROPOSALS}:check_proposal", "check_statement_signature(decoded, bytes(machine.identity_key))", "pass"),
        f"{WAY}::test_a_statement_signed_with_another_machines_key_is_refused",
    ),
    defence(
        "commit-owner",
        "statement",
        "The gateway takes no statement that names another machine, vault or epoch.",
        Edit(f"{PROPOSALS}:check_proposal", "_check_owner(decoded, machine, vault)", "pass"),
        f"{FITS}[changes2-another machine]",
        f"{FITS}[changes3-another vault]",
        f"{FITS}[changes4-epoch 9]",
    ),
    defence(
        "commit-root",
        "statement",
        "The gateway takes no root that the statement does not name.",
        Edit(f"{PROPOSALS}:_check_root", "if blake3(root).digest() != statement.root_hash:", "if False:"),
        f"{FITS}[changes5-root is not the one]",
    ),
    defence(
        "commit-root-header",
        "statement",
        "The gateway takes no root whose header disagrees with its statement.",
        Edit(f"{PROPOSALS}:_check_root", "if said != expected:", "if False:"),
        f"{WAY}::test_a_root_whose_header_disagrees_is_refused",
    ),
    defence(
        "commit-blocks",
        "statement",
        "The gateway takes no list of blocks that the statement does not name.",
        Edit(f"{PROPOSALS}:_check_blocks", "if blocks_hash(blocks) != statement.blocks_hash:", "if False:"),
        f"{FITS}[changes6-reference blocks are not those]",
    ),
    defence(
        "commit-recipients-of-this-root",
        "statement",
        "The gateway takes no recipient record of another root.",
        Edit(
            f"{PROPOSALS}:_check_recipients",
            "if any(decode_recipient(record).root_hash != statement.root_hash for record in recipients):",
            "if False:",
        ),
        f"{WAY}::test_recipient_records_of_another_root_or_none_are_refused",
    ),
    defence(
        "commit-write-only-recipients",
        "root",
        "The gateway takes no root that a write-only machine has sealed to its own reading key, or to any machine's.",
        Edit(f"{PROPOSALS}:_check_write_only", "if not machine.write_only:", "if True:"),
        f"{WRITE_ONLY}::test_a_write_only_machines_own_reading_key_is_refused_as_a_recipient",
        f"{WRITE_ONLY}::test_a_write_only_machine_seals_to_no_other_machine_either",
    ),
    defence(
        "commit-chain",
        "chain",
        "The gateway takes no statement that does not follow the machine's newest one.",
        Edit(
            f"{COMMIT}:_check_chain",
            "if statement.sequence != head.sequence + 1:",
            "if False:",
            (("if statement.previous != head.digest:", "if False:"),),
        ),
        f"{FITS}[changes0-where 1 is due]",
        f"{FITS}[changes1-does not follow]",
    ),
    defence(
        "commit-objects-before-row",
        "law 1",
        "Root, records and statement are in the store before the snapshot's row says so.",
        Edit(
            f"{COMMIT}:commit_snapshot",
            "published = publish(machine, vault, proposal, known_counts(statistics))",
            "published = None",
        ),
        f"{WAY}::test_commit_stores_everything_that_a_restore_needs_besides_packs",
        fails_as="AttributeError",
    ),
    defence(
        "commit-repeated",
        "law 1",
        "Repeating a commit gets the same answer.",
        Edit(
            f"{COMMIT}:_answer_of_repetition", "return Committed(same.pk, same.state, same.received_at)", "return None"
        ),
        f"{WAY}::test_repeating_a_commit_gets_the_same_answer_even_from_an_older_connection",
        fails_as="errors.Fenced",
    ),
    defence(
        "store-fsync",
        "law 1",
        "An object's bytes are on the disk before it gets its name.",
        Edit(f"{STORE}:LocalStore.put", "os.fsync(descriptor)", "pass"),
        f"{LOCAL}::test_bytes_are_synced_before_the_name_and_the_name_before_the_answer",
    ),
    defence(
        "store-folder-fsync",
        "law 1",
        "An object's name is on the disk before the store answers.",
        Edit(
            f"{STORE}:_give_name",
            'raise AlreadyThere(f"{key} is there already.") from None\n    os.fsync(folder)',
            'raise AlreadyThere(f"{key} is there already.") from None',
        ),
        f"{LOCAL}::test_bytes_are_synced_before_the_name_and_the_name_before_the_answer",
    ),
    defence(
        "store-first-put-wins",
        "law 4",
        "What is stored is never overwritten.",
        Edit(
            f"{STORE}:LocalStore.put",
            "if only_if_absent:",
            "if False:",
            (("replace=not only_if_absent", "replace=True"),),
        ),
        f"{CONTRACT}::test_the_first_put_wins",
    ),
    defence(
        "second-copy-is-a-spare",
        "law 4",
        "A second copy of a chunk never replaces the first: it is kept as a spare.",
        Words("backup_platform.catalog.deduplication:HEAL_SQL", "AND c.state = 2", ""),
        f"{DAMAGE}::test_a_spare_takes_over_and_nothing_is_lost",
    ),
    defence(
        "verify-record-digest",
        "law 2",
        "Verify re-reads every record and compares its digest, so that the good ones of a damaged pack go on.",
        Edit(
            "backup_platform.catalog.pack_check:_agrees",
            "return same and blake3(data[RECORD_HEADER_SIZE:]).digest() == entry.digest",
            "return same",
        ),
        f"{DAMAGE}::test_good_records_of_a_damaged_pack_go_on",
    ),
    defence(
        "verify-whole-digest",
        "law 2",
        "Verify compares the whole pack with its row: a swapped pack is found.",
        Edit(
            "backup_platform.catalog.pack_check:check_pack",
            "found.digest == expected.digest and found.size == expected.size and ",
            "",
        ),
        f"{DAMAGE}::test_verify_finds_it_and_the_snapshot_is_never_called_good[swap]",
        f"{DAMAGE}::test_scrub_finds_it_later_and_names_pack_and_snapshot[swap]",
    ),
    defence(
        "verify-reads",
        "law 2",
        "A snapshot whose pack was spoilt, cut or removed is never called good.",
        Edit(
            "backup_platform.catalog.verification:verify_pack",
            "report = examine_pack(pack)",
            "report = PackReport()",
        ),
        f"{DAMAGE}::test_verify_finds_it_and_the_snapshot_is_never_called_good[spoil_record]",
        f"{DAMAGE}::test_verify_finds_it_and_the_snapshot_is_never_called_good[cut]",
        f"{DAMAGE}::test_verify_finds_it_and_the_snapshot_is_never_called_good[remove]",
        fails_as="errors.RecordUnavailable local.NotFound",
    ),
    defence(
        "read-record-digest",
        "law 2",
        "A record is given out only if it has its digest.",
        Edit(
            "backup_platform.catalog.reading:read_record",
            " or blake3(sealed).digest() != header.digest",
            "",
        ),
        "tests/gateway/test_restoring.py::test_damaged_chunk_is_named_and_the_others_come",
    ),
    defence(
        "completion-live-rows-only",
        "law 2",
        "Only live rows of the index count towards *verified*.",
        Edit("backup_platform.catalog.completion:_add", " or rows[i][2] == ChunkState.DAMAGED", ""),
        f"{DAMAGE}::test_sending_the_wanted_ids_again_heals_the_snapshot[True-spoil_record]",
        f"{DAMAGE}::test_damage_found_while_a_snapshot_is_being_completed_is_not_overlooked",
    ),
    defence(
        "completion-sees-damage",
        "law 2",
        "A snapshot is not called good behind the back of whoever finds it damaged.",
        Edit(
            "backup_platform.catalog.completion:_settle",
            "if Vault.objects.get(pk=snapshot.vault_id).generation != snapshot.vault.generation:",
            "if False:",
        ),
        f"{DAMAGE}::test_damage_found_while_a_snapshot_is_being_completed_is_not_overlooked",
    ),
    defence(
        "completion-objects",
        "law 2",
        "Root, recipient records and statement are re-read before a snapshot is called good.",
        Edit(
            "backup_platform.catalog.completion:complete_snapshot",
            "needs.fault = needs.fault or check_snapshot_objects(snapshot)",
            "pass",
        ),
        f"{DAMAGE}::test_a_root_that_is_damaged_before_verification_is_found_by_completion",
    ),
    defence(
        "deduplicate-checked-only",
        "law 2",
        "Nothing of an unverified pack gets into the index.",
        Edit("backup_platform.catalog.deduplication:deduplicate_pack", ", state__in=CHECKED", ""),
        f"{DAMAGE}::test_deduplication_never_touches_an_unverified_pack",
    ),
    defence(
        "damage-marks-snapshots",
        "law 2",
        "Damage takes back *verified* from every snapshot that needs it, and raises the generation.",
        Edit("backup_platform.catalog.damage:_mark_snapshots", "if not numbers:", "if True:"),
        f"{DAMAGE}::test_scrub_finds_it_later_and_names_pack_and_snapshot[spoil_record]",
    ),
    defence(
        "placing-compares",
        "law 2",
        "What an earlier attempt left in the target is compared before it is relied on.",
        Edit("backup_platform.catalog.placing:_place", "_check_copy(target, key, pack, source)", "pass"),
        "tests/catalog/test_placing.py::test_other_bytes_under_the_packs_key_keep_it_in_the_spool",
    ),
    defence(
        "error-is-not-absence",
        "law 7",
        "A pack that cannot be read just now is neither damaged nor gone.",
        Edit(
            "backup_platform.catalog.pack_files:open_local_file",
            'raise RecordUnavailable(f"A pack cannot be read just now ({type(fault).__name__}).") from fault',
            "raise PackGone from None",
        ),
        f"{DAMAGE}::test_a_read_that_fails_is_an_error_of_the_scrub_and_not_damage",
    ),
    defence(
        "store-mark",
        "law 7",
        "A store whose disk is not mounted is away, not empty.",
        Edit(f"{STORE}:LocalStore._open_root_or_fail", "os.stat(MARK, dir_fd=root, follow_symlinks=False)", "pass"),
        f"{LOCAL}::test_a_store_whose_disk_went_away_is_away_and_not_empty",
        f"{DAMAGE}::test_a_store_that_is_away_is_never_taken_for_damage",
    ),
    defence(
        "store-errors-are-no-absence",
        "law 7",
        "Only ENOENT is absence; every other error is the store's.",
        Edit(
            f"{STORE}:_translated",
            "kind = NoSpace if fault.errno in _FULL else StoreUnavailable",
            "kind = NotFound",
        ),
        f"{LOCAL}::test_a_failing_step_stores_nothing_and_leaves_no_litter",
        fails_as="base.NotFound",
    ),
    defence(
        "store-listing-whole",
        "law 7",
        "A listing in which a folder vanishes is an error, never a shorter list.",
        Edit(f"{STORE}:LocalStore._walk", "if seen:", "if False:"),
        f"{LOCAL}::test_a_folder_that_vanishes_during_a_listing_is_an_error",
    ),
    defence(
        "store-no-links",
        "law 8",
        "No link that somebody plants in a store leads out of it.",
        (
            Swap(f"{STORE}:_DIRECTORY", 0o200000 | 0o2000000),
            Swap(f"{STORE}:_READ", 0o2000000),
        ),
        f"{LOCAL}::test_links_planted_inside_lead_nowhere",
    ),
    defence(
        "question-bounded",
        "law 10",
        "A question names at most 4,096 ids.",
        Edit("backup_platform.catalog.present:_question", "if len(ids) > MAX_QUESTION:", "if False:"),
        f"{PRESENT}::test_nothing_is_asked_for_no_ids_and_too_many_are_refused",
    ),
    defence(
        "dedup-twice-is-once",
        "jobs",
        "Deduplicating a pack twice changes nothing.",
        (
            Edit(
                "backup_platform.catalog.deduplication:deduplicate_pack", "if pack.deduplicated_at is None:", "if True:"
            ),
            Edit(
                "backup_platform.catalog.deduplication:_move_arrivals",
                "if locked.deduplicated_at is not None:",
                "if False:",
            ),
        ),
        f"{DAMAGE}::test_every_step_done_twice_changes_nothing",
    ),
    defence(
        "job-claimed-once",
        "jobs",
        "A second delivery of a job changes nothing: a claim succeeds once.",
        (
            Edit("backup_platform.jobs.states:take", ".filter(state__in=move.before)", ""),
            Edit("backup_platform.jobs.services:claim", ", next_attempt_at__lte=now", ""),
        ),
        f"{JOBS}::test_a_job_is_claimed_by_one_worker_and_its_attempt_counts_before_the_work",
        f"{JOBS}::test_of_two_workers_at_once_one_gets_the_job",
    ),
    defence(
        "job-claim-fences",
        "jobs",
        "A claim that was lost can write nothing more.",
        Edit("backup_platform.jobs.services:_mine", ", lease_owner=job.lease_owner", ""),
        f"{JOBS}::test_a_claim_that_was_lost_can_write_nothing_more",
    ),
    defence(
        "job-poison",
        "jobs",
        "A job that killed its worker ten times in a row is not started again.",
        Edit("backup_platform.jobs.sweeping:_fail_poisonous", "lost__gte=MAX_LOST - 1", "lost__gte=10**4"),
        f"{JOBS}::test_a_worker_that_dies_ten_times_in_a_row_fails_the_job",
    ),
    defence(
        "job-lost-message",
        "jobs",
        "A lost message is sent again by the sweep.",
        Edit("backup_platform.jobs.sweeping:sweep", "_send_due(now)", "0"),
        f"{JOBS}::test_a_message_that_nobody_takes_is_sent_again_at_doubling_intervals",
        f"{JOBS}::test_a_lost_message_is_sent_again_in_a_quarter_minute_however_often_it_is_lost",
    ),
    defence(
        "job-in-tenant-scope",
        "law 5",
        "A job's work runs in its tenant's scope.",
        Edit(
            "backup_platform.jobs.running:run_job",
            "tenant_scope(job.tenant_id) if job.tenant_id else ",
            "",
        ),
        f"{JOBS}::test_the_work_runs_in_its_tenants_scope",
    ),
    defence(
        "dispatch-after-commit",
        "jobs",
        "A message goes out after the commit, never for what was rolled back.",
        Edit(
            "backup_platform.dispatch:send",
            "transaction.on_commit(lambda: _publish(task, queue, job_id), robust=True)",
            "_publish(task, queue, job_id)",
        ),
        f"{DISPATCH}::test_a_rolled_back_transaction_sends_nothing",
    ),
    defence(
        "dispatch-never-raises",
        "jobs",
        "A broker that is away costs the sender nothing.",
        (
            Edit(
                "backup_platform.dispatch:_publish",
                "except (OSError, OperationalError) as fault:",
                "except ZeroDivisionError as fault:",
            ),
            Edit("backup_platform.dispatch:send", ", robust=True", ""),
        ),
        f"{DISPATCH}::test_a_broker_that_is_away_costs_next_to_nothing[redis://127.0.0.1:1/0]",
        fails_as="exceptions.OperationalError",
    ),
)


def _plain_transaction() -> object:
    from django.db import transaction

    return transaction.atomic()
