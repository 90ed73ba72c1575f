"""The gateway: what it makes durable before it speaks, and whom it lets read."""

from __future__ import annotations

from tests.defences.defence import defence
from tests.defences.removal import Edit

DURABLE = "tests/gateway/test_durability.py"
RESTORING = "tests/gateway/test_restoring.py"
EXPLAINING = "tests/gateway/test_explaining.py"
SESSIONS = "tests/gateway/test_sessions.py"
OPENING = "tests/gateway/test_opening.py"
PEERS = "tests/gateway/test_hostile_peers.py"
PACK = "tests/gateway/test_pack_writer.py"
RECOVERY = "tests/gateway/test_recovery.py"
BOUNDS = "tests/gateway/test_bounds.py"
WRITER = "backup_platform.gateway.pack_writer:PackWriter"
PLAN = "backup_platform.gateway.restoring:plan_fetch"
PERMITTED = "backup_platform.gateway.restoring:_find_permitted"
WELCOME = "backup_platform.gateway.restoring:_check_welcome"
LATE = "backup_platform.gateway.peer:Peer._lateness"

ROWS = (
    defence(
        "reading-in-turns",
        "law 10",
        "One round of the event loop reads a bounded amount: who sends much waits for a turn.",
        Edit(
            "backup_platform.gateway.peer:Peer._share_round",
            'self._turns.wait(lambda: self._go_on("turn"))',
            'self._go_on("turn")',
        ),
        "tests/gateway/test_turns.py::test_backups_at_once_take_turns_and_all_arrive_while_others_are_answered",
    ),
    defence(
        "renewal-beside-a-commit",
        "law 1",
        "A renewal that finds its session ended by a commit under way does not take the commit's answer away.",
        Edit("backup_platform.gateway.backup:Backup.being_committed", "self._committing = True", "pass"),
        f"{SESSIONS}::test_renewal_that_meets_a_finished_commit_does_not_end_the_connection",
    ),
    defence(
        "flush-fdatasync",
        "law 1",
        "Bytes are on the disk (fdatasync) before their rows are written.",
        Edit(f"{WRITER}.sync", "self._guard(lambda: self.files.fdatasync(self._fd))", "pass"),
        f"{DURABLE}::test_acknowledgement_comes_after_bytes_sync_and_rows",
    ),
    defence(
        "flush-directory-fsync",
        "law 1",
        "A new pack's name is on the disk before anything in it is acknowledged.",
        Edit(f"{WRITER}.sync", "if not self._name_durable:", "if False:"),
        f"{DURABLE}::test_acknowledgement_comes_after_bytes_sync_and_rows",
    ),
    defence(
        "flush-rows-before-stored",
        "law 1",
        "Rows are committed before STORED is sent.",
        Edit(
            "backup_platform.gateway.arriving:Arriving._flush",
            "holder, rows, pack_id = self.holder, pending.rows, pack.row.pack_id\n",
            "holder, rows, pack_id = self.holder, pending.rows, pack.row.pack_id\n    self._stored(pending.through)\n",
            (
                (
                    "self._acknowledged = pending.through\n    self._stored(pending.through)",
                    "self._acknowledged = pending.through",
                ),
            ),
        ),
        f"{DURABLE}::test_acknowledgement_comes_after_bytes_sync_and_rows",
        f"{DURABLE}::test_database_that_refuses_the_rows_means_no_acknowledgement",
    ),
    defence(
        "seal-fdatasync",
        "law 1",
        "A pack's index and trailer are on the disk before it gets its final name.",
        Edit(f"{WRITER}.seal", "self._guard(lambda: self.files.fdatasync(self._fd))", "pass"),
        f"{DURABLE}::test_seal_is_synced_before_and_after_it_gets_its_name",
    ),
    defence(
        "seal-directory-fsync",
        "law 1",
        "A sealed pack's name is on the disk before its row says so.",
        Edit(f"{WRITER}.seal", "self._guard(lambda: self.files.fsync_directory(self.path.parent))", "pass"),
        f"{DURABLE}::test_seal_is_synced_before_and_after_it_gets_its_name",
    ),
    defence(
        "failed-fsync-never-retried",
        "law 1",
        "After a failed write or fsync the file is never written or fsynced again.",
        Edit(f"{WRITER}._guard", "self.dead = True", "self.dead = False"),
        f"{PACK}::test_after_a_fault_the_file_is_never_touched_again[fdatasync]",
        f"{PACK}::test_after_a_fault_the_file_is_never_touched_again[write]",
    ),
    defence(
        "recovery-keeps-acknowledged",
        "law 1",
        "What was acknowledged is copied, digest by digest, out of a dead gateway's open pack.",
        Edit("backup_platform.gateway.finishing:compare", "if entry.offset < end]", "if False]"),
        f"{RECOVERY}::test_comparison_keeps_a_beginning_and_loses_exactly_the_rows_beyond_it",
    ),
    defence(
        "recovery-reports-loss",
        "law 1",
        "A row without its bytes is reported, never sealed over.",
        Edit("backup_platform.gateway.finishing:compare", "result.lost.append(row.id)", "pass"),
        f"{RECOVERY}::test_row_without_bytes_is_reported_and_the_rest_is_saved",
    ),
    defence(
        "recovery-own-spools-only",
        "law 1",
        "A living gateway's spool is left alone (flock).",
        Edit("backup_platform.gateway.spool:try_spool", "fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)", "pass"),
        f"{RECOVERY}::test_spool_of_a_living_gateway_is_left_alone",
    ),
    defence(
        "put-digest",
        "law 2",
        "A PUT whose bytes do not have their digest is not stored.",
        Edit(
            "backup_platform.gateway.pack_writer:matches",
            "return named and blake3(record.payload).digest() == record.digest",
            "return named",
        ),
        f"{PACK}::test_bytes_that_are_not_their_digests_are_not_taken",
    ),
    defence(
        "put-block-named-by-content",
        "law 4",
        "A reference block is stored under its own hash only.",
        Edit(
            "backup_platform.gateway.pack_writer:matches",
            "record.kind != RecordKind.REFERENCE_BLOCK or record.id == record.digest",
            "True",
        ),
        f"{PACK}::test_reference_block_has_the_name_of_its_content",
    ),
    defence(
        "squatters-are-passed-over",
        "law 4",
        "A chunk that somebody stored under a block's name does not stand for the block.",
        Edit(
            "backup_platform.catalog.reading:is_block",
            "return record.kind == RecordKind.REFERENCE_BLOCK and block_id(record.sealed) == record.id",
            "return True",
        ),
        f"{PEERS}::test_chunk_under_a_blocks_name_does_not_keep_another_machine_from_its_backup",
        fails_as="agent_peer.Failed",
    ),
    defence(
        "fetch-block-of-snapshot",
        "law 5",
        "FETCH reads only a reference block of a permitted snapshot.",
        Edit(PLAN, "if message.block not in split(bytes(snapshot.blocks)):", "if False:"),
        f"{RESTORING}::test_chunk_outside_the_named_block_is_refused",
    ),
    defence(
        "fetch-chunk-of-block",
        "law 5",
        "FETCH reads only chunks that the named block lists: knowing an id is never a right to read.",
        Edit(PLAN, "if not all(block_contains(block, record_id) for record_id in wanted):", "if False:"),
        f"{RESTORING}::test_chunk_outside_the_named_block_is_refused",
    ),
    defence(
        "read-permitted-machines",
        "law 5",
        "A machine reads its own snapshots, and others only with proof of the kit.",
        Edit(PERMITTED, ", machine_id__in=readable", ""),
        f"{RESTORING}::test_another_machines_snapshots_need_the_kit_and_are_audited",
    ),
    defence(
        "list-needs-proof",
        "law 5",
        "Another machine's snapshots are listed only with proof of the kit.",
        Edit(
            "backup_platform.gateway.restoring:listed_machine",
            "raise Refusal(FailureCode.FORBIDDEN, NEEDS_PROOF)",
            "machine_id = Machine.objects.values_list('pk', flat=True).filter(name=name).first() or caller.machine_id",
        ),
        f"{RESTORING}::test_another_machines_snapshots_need_the_kit_and_are_audited",
        f"{EXPLAINING}::test_another_machines_fate_needs_the_kit",
    ),
    defence(
        "holds-stay-on-the-platform",
        "law 5",
        "A machine that asks what became of a snapshot learns nothing of a legal hold.",
        Edit("backup_platform.retention.fates:_told", "told = decode_lifecycle(record).event in TOLD", "told = True"),
        f"{EXPLAINING}::test_legal_hold_is_not_told_to_the_machine_and_the_chain_still_holds",
    ),
    defence(
        "explanations-paged",
        "law 10",
        "What became of snapshots that are gone comes in pages.",
        Edit("backup_platform.gateway.explaining:explain", "in found[: limits.MAX_FATES]]", "in found]"),
        f"{EXPLAINING}::test_explanations_come_in_pages",
    ),
    defence(
        "write-only-reads-nothing",
        "law 5",
        "A write-only machine is refused roots and chunks.",
        Edit("backup_platform.gateway.caller:Scope.readable", "set() if self.caller.write_only else ", ""),
        f"{RESTORING}::test_write_only_machine_reads_nothing_even_with_the_ids_in_hand",
    ),
    defence(
        "expired-not-found",
        "law 4",
        "An expired snapshot is neither listed nor read.",
        Edit(PERMITTED, "found.exclude(state__in=GONE).first()", "found.first()"),
        f"{RESTORING}::test_expired_snapshot_is_not_listed_and_not_found",
    ),
    defence(
        "proof-checked",
        "kit proof",
        "A proof of the kit needs the vault's signing key.",
        Edit("backup_platform.gateway.restoring:prove", "if not proved:", "if False:"),
        f"{RESTORING}::test_proof_with_another_key_is_refused",
    ),
    defence(
        "proof-audited",
        "law 9",
        "A proof of the kit, good or bad, leaves a line in the audit.",
        Edit(
            "backup_platform.gateway.restoring:prove",
            "record_audit(",
            "(lambda *_, **__: None)(",
        ),
        f"{RESTORING}::test_proof_of_anything_else_is_refused_and_audited[changed0]",
        f"{RESTORING}::test_another_machines_snapshots_need_the_kit_and_are_audited",
    ),
    defence(
        "restore-of-others-audited",
        "law 9",
        "A restore of another machine's snapshot leaves a line in the audit.",
        Edit("backup_platform.gateway.restoring:read_root", "_audit_other(scope.caller, snapshot)", "pass"),
        f"{RESTORING}::test_another_machines_snapshots_need_the_kit_and_are_audited",
    ),
    defence(
        "revoked-at-hello",
        "revocation",
        "A revoked machine is refused at HELLO.",
        Edit("backup_platform.fleet.access:authenticate", "if machine.state != MachineState.ACTIVE:", "if False:"),
        f"{OPENING}::test_revoked_machine_is_refused_at_hello",
        f"{OPENING}::test_machine_revoked_meanwhile_cannot_begin",
        f"{RESTORING}::test_revocation_ends_a_restore",
    ),
    defence(
        "revocation-ends-a-restore",
        "revocation",
        "Each read asks afresh whether the machine may still connect.",
        Edit(WELCOME, "access.authenticate(caller.identity_hash)", "pass"),
        f"{RESTORING}::test_revocation_ends_a_restore",
    ),
    defence(
        "certificate-asked-for",
        "enrolment",
        "A machine is recognised by the key of the certificate that it shows.",
        Edit("backup_platform.gateway.tls:server_tls", "ssl.CERT_OPTIONAL", "ssl.CERT_NONE"),
        f"{OPENING}::test_identity_is_the_key_and_never_the_name_in_the_certificate",
        fails_as="AttributeError",
    ),
    defence(
        "no-resumption",
        "revocation",
        "Every connection is judged afresh: no TLS tickets.",
        Edit("backup_platform.gateway.tls:server_tls", "context.num_tickets = 0", "context.num_tickets = 2"),
        f"{OPENING}::test_no_resumption_so_that_every_connection_is_judged_afresh",
    ),
    defence(
        "frames-in-time",
        "law 10",
        "A frame that drips is cut off.",
        Edit(LATE, "if self.connection.mid_frame and frame_age > limits.frame_seconds and too_slow:", "if False:"),
        f"{PEERS}::test_frame_that_drips_is_cut_off",
    ),
    defence(
        "strangers-bounded",
        "law 10",
        "Strangers of one address are bounded.",
        Edit(
            "backup_platform.gateway.admission:Admission.admit",
            "if self._strangers[address] >= self._limits.unauthenticated_per_address:",
            "if False:",
        ),
        f"{BOUNDS}::test_admission_never_exceeds_its_bounds_and_forgets_who_left",
        f"{PEERS}::test_strangers_of_one_address_are_bounded_and_machines_are_not_counted",
    ),
    defence(
        "received-bytes-bounded",
        "law 10",
        "Received bytes of all connections together are bounded.",
        Edit("backup_platform.gateway.peer:Peer._pause", "self.transport.pause_reading()", "pass"),
        f"{PEERS}::test_received_bytes_are_bounded_while_the_disk_is_slow",
    ),
    defence(
        "questions-metered",
        "law 10",
        "Questions are counted and limited for each machine.",
        Edit("backup_platform.gateway.admission:Meter.ask", "return wait", "return 0.0"),
        f"{BOUNDS}::test_questions_answered_over_time_never_exceed_burst_and_rate",
        f"{PEERS}::test_flood_of_questions_is_refused_with_a_time_to_wait",
        f"{PEERS}::test_flood_of_huge_commits_is_refused_with_a_time_to_wait",
    ),
    defence(
        "lists-paged",
        "law 10",
        "A list of snapshots comes in pages.",
        Edit(
            "backup_platform.gateway.restoring:list_snapshots",
            "for snapshot in page[: message.limit]]",
            "for snapshot in found]",
        ),
        f"{RESTORING}::test_list_is_paged_newest_first",
    ),
    defence(
        "spool-reserve",
        "law 1",
        "No pack is begun on a disk that is nearly full.",
        Edit("backup_platform.gateway.open_packs:OpenPacks.has_room", "free >= self.limits.spool_reserve", "True"),
        f"{DURABLE}::test_no_pack_is_begun_when_space_is_short",
    ),
    defence(
        "unexpected-told-without-details",
        "secrecy",
        "An unexpected fault is told without its details.",
        Edit(
            "backup_platform.gateway.faults:_unexpected",
            'f"The server met an unexpected fault; its log has it under {reference}."',
            "str(fault)",
        ),
        f"{DURABLE}::test_what_is_unexpected_is_told_without_details",
    ),
    defence(
        "flush-within-bounds",
        "law 10",
        "However long a flush waits for its turn, it covers no more rows than are written at once.",
        Edit("backup_platform.gateway.arriving:Arriving._next_batch", "len(batch) < most", "len(batch) < MAX_BATCH"),
        "tests/gateway/test_fairness.py::test_a_flush_that_waits_long_never_covers_more_than_can_be_written_at_once",
    ),
)
