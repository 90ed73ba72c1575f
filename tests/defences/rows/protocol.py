"""Wire and stored formats: bounds, and digests that are checked wherever a format is read."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from protocol.wire.codec import KINDS
from protocol.wire.types import MessageType
from tests.defences.defence import defence
from tests.defences.removal import Edit, Swap

WIRE = "tests/protocol/wire"
PACKS = "tests/protocol/stored/test_packs.py"
REFUSALS = "tests/protocol/stored/test_refusals.py"
PUTS = "protocol.wire.flight:Puts"
INDEX = "protocol.stored.packs:read_index"
DELETE: Any = SimpleNamespace(name="DELETE")
"""A verb that must not be there."""

ROWS = (
    defence(
        "frame-lengths-bounded",
        "law 10",
        "A frame's lengths are judged at its header, before anything is allocated for them.",
        Edit(
            "protocol.wire.frame_reader:FrameReader._read_header",
            "check_lengths(kind, header.body_length, header.payload_length)",
            "pass",
        ),
        f"{WIRE}/test_receiving.py::test_length_is_refused_at_the_header_before_anything_is_allocated",
    ),
    defence(
        "window-bounded",
        "law 10",
        "Unacknowledged bytes are bounded by the window, at both ends.",
        Edit(f"{PUTS}.has_room", "self.unacknowledged_bytes + size <= self.window and ", ""),
        f"{WIRE}/test_flow.py::test_put_beyond_the_window_is_not_sent",
        f"{WIRE}/test_flow.py::test_put_beyond_the_window_is_refused_at_its_header",
    ),
    defence(
        "puts-bounded",
        "law 10",
        "Unacknowledged PUTs are bounded by number.",
        Edit(f"{PUTS}.has_room", " and len(self._sizes) < limits.MAX_PUTS_IN_FLIGHT", ""),
        f"{WIRE}/test_flow.py::test_tiny_puts_are_bounded_by_number",
    ),
    defence(
        "requests-bounded",
        "law 10",
        "Requests in flight are bounded.",
        Edit(
            "protocol.wire.flight:Requests.book",
            "if len(self._asked) >= limits.MAX_REQUESTS_IN_FLIGHT:",
            "if False:",
        ),
        f"{WIRE}/test_flow.py::test_requests_in_flight_are_bounded_on_both_sides",
    ),
    defence(
        "acknowledgements-rise",
        "law 1",
        "An acknowledgement never goes back, and never beyond what was put.",
        Edit(f"{PUTS}.store", "if not self.acknowledged < through <= self.sent:", "if False:"),
        f"{WIRE}/test_conversations.py::test_acknowledgements_rise",
        fails_as="IndexError",
    ),
    defence(
        "flushed-after-stored",
        "law 1",
        "FLUSHED is believed only after every PUT before FLUSH was acknowledged.",
        Edit("protocol.wire.flight:check_answer", "acknowledged < asked.puts", "False"),
        f"{WIRE}/test_conversations.py::test_flushed_needs_the_acknowledgement_of_every_put_before_the_flush",
    ),
    defence(
        "records-as-asked",
        "law 10",
        "No more records come than were asked for.",
        Edit("protocol.wire.flight:Requests.find", "if kind.manner is Manner.PART and asked.parts == 0:", "if False:"),
        f"{WIRE}/test_conversations.py::test_more_records_than_asked_for_are_refused",
    ),
    defence(
        "phases-checked",
        "law 5",
        "A message has its phase: a stranger may only enrol, restores have no place in a backup.",
        Edit("protocol.wire.conversation:Conversation.admit", "check_may_open(self.phase, sender, kind.code)", "pass"),
        f"{WIRE}/test_conversations.py::test_fault_is_refused_by_its_receiver",
    ),
    defence(
        "agents-have-no-verb-to-delete",
        "law 4",
        "The wire has no message by which an agent deletes or overwrites.",
        Swap(
            "protocol.wire.codec:KINDS",
            {**KINDS, 199: replace(KINDS[MessageType.STATUS], code=DELETE)},
        ),
        f"{WIRE}/test_states.py::test_agents_have_no_verb_that_deletes_or_overwrites",
    ),
    defence(
        "messages-have-senders",
        "law 1",
        "Only the gateway may acknowledge.",
        Edit("protocol.wire.conversation:Conversation.admit", "if sender not in kind.senders:", "if False:"),
        f"{WIRE}/test_conversations.py::test_fault_of_a_direction_says_so",
    ),
    defence(
        "pack-record-digest",
        "law 2",
        "A walk over a pack's records takes one only if its digest matches.",
        Edit("protocol.stored.packs:scan_records", " or blake3(sealed).digest() != header.digest", ""),
        f"{PACKS}::test_one_changed_byte_in_a_record_ends_the_walk_before_it",
    ),
    defence(
        "open-pack-record-digest",
        "law 2",
        "A record of an open pack counts only if its digest matches.",
        Edit("backup_platform.gateway.resync:_record_at", " or blake3(sealed).digest() != header.digest", ""),
        "tests/gateway/test_recovery.py::test_bit_rot_in_an_acknowledged_record_is_not_sealed_over",
        fails_as="PackDead OSError errors.PackDead",
    ),
    defence(
        "pack-index-digest",
        "law 2",
        "A pack's index counts only if its digest matches.",
        Edit(INDEX, "if blake3(index).digest() != trailer.index_digest:", "if False:"),
        f"{PACKS}::test_any_changed_byte_in_index_or_trailer_is_refused",
    ),
    defence(
        "pack-index-complete",
        "law 2",
        "A pack's index leaves no part of the file undescribed.",
        Edit(INDEX, "_check_order(entries, trailer.index_offset)", "pass"),
        f"{PACKS}::test_an_index_that_leaves_a_gap_is_refused",
    ),
    defence(
        "pack-index-bounded",
        "law 10",
        "A trailer cannot ask for an endless index.",
        Edit("protocol.stored.packs:decode_trailer", "if count > MAX_PACK_RECORDS:", "if False:"),
        f"{PACKS}::test_a_trailer_cannot_ask_for_an_endless_index",
    ),
    defence(
        "block-ascending",
        "law 3",
        "A reference block is sorted and without doubles, or it is none.",
        Edit("protocol.stored.blocks:decode_block", "any(a >= b for a, b in pairwise(ids))", "False"),
        f"{REFUSALS}::test_a_reference_block_out_of_order_or_doubled_is_refused",
    ),
    defence(
        "unknown-formats-refused",
        "law 7",
        "An object of another magic, type, version or algorithm is refused.",
        Edit(
            "protocol.stored.prefix:check_prefix",
            "if head[6] not in ALGORITHMS[kind] or head[7] != 0:",
            "if False:",
            (("if head[5] != FORMAT_VERSION:", "if False:"),),
        ),
        f"{REFUSALS}::test_an_object_of_another_magic_version_or_algorithm_is_refused",
    ),
)
