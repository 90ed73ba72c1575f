"""What a reader believes of a server: nothing before it is proved."""

from __future__ import annotations

from tests.defences.defence import defence
from tests.defences.removal import Edit

READING = "tests/restore/test_reading.py"
OPEN = "agents.engine.reading:SnapshotReader.open"
HEADER = "agents.engine.reading:SnapshotReader._check_header"
ABSENCES = "tests/restore/test_absences.py"
PLACE = "agents.engine.absences:_Judge._check_place"
SEGMENT = "agents.engine.reading:SegmentRead.read"

ROWS = (
    defence(
        "root-hash-against-statement",
        "statement",
        "A root counts only if the statement names its hash.",
        Edit(OPEN, "if blake3(file).digest() != statement.root_hash:", "if False:"),
        f"{READING}::test_root_of_another_snapshot_is_refused",
    ),
    defence(
        "blocks-hash-against-statement",
        "statement",
        "Reference blocks count only if the statement names their hash.",
        Edit(OPEN, "if blake3(said.blocks).digest() != statement.blocks_hash:", "if False:"),
        f"{READING}::test_other_reference_blocks_are_refused",
    ),
    defence(
        "blocks-against-root",
        "statement",
        "The sealed root repeats the reference blocks.",
        Edit(OPEN, 'if b"".join(ref.block_id for ref in body.segments) != said.blocks:', "if False:"),
        f"{READING}::test_blocks_that_the_root_does_not_name_are_refused",
    ),
    defence(
        "root-header-against-statement",
        "statement",
        "A root of another tenant, vault, epoch, machine or number is refused.",
        Edit(HEADER, "if says != (*trusted, statement.epoch, statement.machine_id, statement.sequence):", "if False:"),
        f"{READING}::test_root_whose_header_disagrees_with_the_statement_is_refused[header0]",
        f"{READING}::test_root_whose_header_disagrees_with_the_statement_is_refused[header1]",
        f"{READING}::test_root_whose_header_disagrees_with_the_statement_is_refused[header2]",
        f"{READING}::test_root_whose_header_disagrees_with_the_statement_is_refused[header3]",
        f"{READING}::test_root_whose_header_disagrees_with_the_statement_is_refused[header4]",
    ),
    defence(
        "statement-named-by-its-id",
        "statement",
        "A snapshot's id is its statement's digest.",
        Edit("agents.engine.reading:SnapshotReader._check_item", "if statement.snapshot_id != item.id:", "if False:"),
        f"{READING}::test_statement_under_another_id_is_refused",
    ),
    defence(
        "machine-name-in-the-root",
        "statement",
        "With the kit, the sealed root says whose snapshot it is, not the server.",
        Edit(OPEN, 'if self._trust.machine_name not in ("", body.machine_name):', "if False:"),
        f"{READING}::test_snapshot_of_another_machine_is_not_given_out_as_the_one_that_was_asked_for",
    ),
    defence(
        "chain-between-listed",
        "chain",
        "A reader checks each listed statement against its neighbour.",
        Edit("agents.engine.reading:SnapshotReader.listed", "self._check_place(listed, newer)", "pass"),
        f"{READING}::test_exchanged_neighbour_breaks_the_chain",
        f"{READING}::test_snapshots_in_another_order_are_refused",
    ),
    defence(
        "expiry-of-what-the-chain-names",
        "chain",
        "An expiry explains a missing number only with the statement that the chain names there.",
        Edit(PLACE, "if newer is not None and newer.previous != statement.digest:", "if False:"),
        f"{ABSENCES}::test_statement_that_the_machine_signed_and_did_not_use_explains_nothing",
    ),
    defence(
        "expiry-behind-its-predecessor",
        "chain",
        "An expiry explains a missing number only with a statement that follows the listed one before it.",
        Edit(PLACE, "if before is not None and statement.previous != before:", "if False:"),
        f"{ABSENCES}::test_statement_before_the_gap_is_named_by_the_first_in_it",
    ),
    defence(
        "expiry-of-what-the-machine-signed",
        "statement",
        "An expiry explains a missing number only with a statement that the machine signed.",
        Edit(PLACE, "self._verify(statement)", "pass"),
        f"{ABSENCES}::test_statement_without_known_neighbours_still_needs_the_machines_signature",
    ),
    defence(
        "expiry-records-in-their-chain",
        "chain",
        "Lifecycle records that do not name one another explain nothing.",
        Edit("agents.engine.absences:_checked", "if before is not None and record.previous != before:", "if False:"),
        f"{ABSENCES}::test_reason_that_does_not_hold_leaves_the_number_hidden[out_of_their_chain]",
        f"{ABSENCES}::test_reason_that_does_not_hold_leaves_the_number_hidden[behind_another_withheld_one]",
    ),
    defence(
        "segment-against-root",
        "law 8",
        "A manifest segment lists what the root says of it, or is damage.",
        Edit(
            SEGMENT,
            "if ends != (self.ref.first_path, self.ref.last_path) or len(segment.entries) != self.ref.entries:",
            "if False:",
        ),
        f"{READING}::test_segment_that_lists_something_else_than_the_root_says_is_damage",
    ),
    defence(
        "agent-own-head",
        "chain",
        "A machine continues only the chain whose newest statement it made itself.",
        Edit("agents.engine.head:settle_head", "if theirs != head_of(home.last_statement()):", "if False:"),
        "tests/engine/test_backing_up.py::test_forged_or_shortened_chain_is_refused[head0]",
        "tests/engine/test_backing_up.py::test_server_that_hands_a_new_machine_a_head_is_refused",
        fails_as="statement.ChainFault ValueError",
    ),
    defence(
        "acknowledged-snapshot-is-ours",
        "statement",
        "An acknowledgement of another snapshot than the one that was sent is refused.",
        Edit(
            "agents.engine.backing_up:_Backup._commit",
            'if answer.snapshot not in (b"", statement.snapshot_id):',
            "if False:",
        ),
        "tests/engine/test_backing_up.py::test_server_that_acknowledges_another_snapshot_is_refused",
    ),
)
