"""Law 8: restoring never writes outside its target, never follows a link out of it, never returns wrong bytes."""

from __future__ import annotations

import os

from tests.defences.defence import defence
from tests.defences.removal import Edit, Swap

HOSTILE = "tests/restore/test_hostile_manifests.py"
READING = "tests/restore/test_reading.py"
RESUMING = "tests/restore/test_resuming.py"
SPLIT = "agents.engine.open_directories:split_path"
FINISH = "agents.engine.placing:FilePlacing.finish"
ADDS_UP = f"{HOSTILE}::test_content_that_does_not_add_up_leaves_no_file"

NO_HASH = (
    "if self._hash is not None and entry.digest and self._hash.digest() != entry.digest:",
    "if False:",
)
SMALL = "agents.engine.placing:Placer._small_file"
NO_SMALL_HASH = ("if blake3(data).digest() != entry.digest:", "if False:")
NOTHING_ADDS_UP = Edit(FINISH, "if self.position != entry.size:", "if False:", (NO_HASH,))

ROWS = (
    defence(
        "restore-no-follow",
        "law 8",
        "Directories are reached component by component and never through a link (O_NOFOLLOW).",
        Swap("agents.engine.open_directories:DIRECTORY_FLAGS", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC),
        f"{HOSTILE}::test_target_with_a_link_in_it_is_not_followed_even_when_overwriting",
        f"{HOSTILE}::test_directory_that_is_swapped_for_a_link_during_the_restore_is_not_followed[100-in a lot]",
        f"{HOSTILE}::test_directory_that_is_swapped_for_a_link_during_the_restore_is_not_followed[100-alone]",
    ),
    defence(
        "restore-no-dot-dot",
        "law 8",
        "'..', '.' and empty components are refused.",
        Edit(SPLIT, 'if any(component in (b"", b".", b"..") for component in components):', "if False:"),
        f"{HOSTILE}::test_path_that_is_not_plain_is_refused_and_named[/../outside/victim]",
        f"{HOSTILE}::test_split_path_gives_plain_components_or_refuses",
    ),
    defence(
        "restore-absolute-only",
        "law 8",
        "A path that is not absolute is refused.",
        Edit(SPLIT, 'if not path.startswith(b"/"):', "if False:"),
        f"{HOSTILE}::test_path_that_is_not_plain_is_refused_and_named[relative]",
    ),
    defence(
        "restore-links-last",
        "law 8",
        "Links are made after all files, so that nothing is written through one.",
        Edit(
            "agents.engine.placing:Placer.symlink",
            "self._links.append(msgspec.msgpack.encode(entry))",
            "self._make_link(entry)",
        ),
        f"{HOSTILE}::test_file_under_a_link_made_earlier_in_the_stream_is_not_written_through_it",
    ),
    defence(
        "restore-new-files-only",
        "law 8",
        "A name that is taken is not overwritten unless that was asked for.",
        Edit("agents.engine.placing:Placer._refuse_existing", "if not self._options.overwrite:", "if False:"),
        f"{HOSTILE}::test_name_that_was_taken_meanwhile_is_not_overwritten",
    ),
    defence(
        "restore-link-of-regular-files",
        "law 8",
        "A hard link is made to a file that this restore placed, never to what a link points to.",
        Edit(
            "agents.engine.placing:Placer._link",
            "if not stat.S_ISREG(os.stat(old, dir_fd=source, follow_symlinks=False).st_mode):",
            "if False:",
        ),
        f"{HOSTILE}::test_hard_link_to_something_that_was_swapped_for_a_link_is_refused",
    ),
    defence(
        "restore-equal-links-only",
        "law 8",
        "Hard links join equal files only: a number in a manifest proves nothing.",
        Edit(
            "agents.engine.restoring:Restorer._is_known_link",
            "known is not None and known[1] == _sameness(entry)",
            "known is not None",
        ),
        f"{HOSTILE}::test_hard_link_group_links_equal_files_and_no_others",
    ),
    defence(
        "restore-whole-hash",
        "law 8",
        "A file gets its real name only after its whole hash was right.",
        (Edit(FINISH, *NO_HASH), Edit(SMALL, *NO_SMALL_HASH)),
        f"{ADDS_UP}[wrong hash-fresh]",
        f"{ADDS_UP}[wrong hash-overwriting]",
    ),
    defence(
        "restore-whole-size",
        "law 8",
        "A file gets its real name only after its size was right.",
        NOTHING_ADDS_UP,
        f"{ADDS_UP}[shorter than its size-fresh]",
        f"{ADDS_UP}[shorter than its size-overwriting]",
    ),
    defence(
        "restore-temporary-name",
        "law 8",
        "Content goes to a temporary name, so that a broken restore leaves no file that looks whole.",
        Edit(
            "agents.engine.placing:FilePlacing.__init__", "self._temporary = temporary_name()", "self._temporary = name"
        ),
        f"{HOSTILE}::test_file_has_no_name_before_its_content_was_checked",
    ),
    defence(
        "restore-discards-unfinished",
        "law 8",
        "What was not finished leaves nothing behind.",
        Edit("agents.engine.placing:FilePlacing.close", "if not self._placed:", "if False:"),
        f"{ADDS_UP}[wrong hash-overwriting]",
    ),
    defence(
        "restore-small-new-files-only",
        "law 8",
        "A small file is made anew (O_EXCL): neither a name that is taken nor a link there is written to.",
        Swap("agents.engine.placing:_NEW_FILE", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC),
        f"{HOSTILE}::test_name_that_was_taken_meanwhile_is_not_overwritten_by_a_small_file",
    ),
    defence(
        "restore-small-hidden",
        "law 8",
        "A small file may be read by nobody before all of it is there: a broken restore leaves none that looks whole.",
        Swap("agents.engine.placing:_HIDDEN", 0o600),
        f"{HOSTILE}::test_small_file_may_be_read_by_nobody_before_all_of_it_is_there",
    ),
    defence(
        "restore-small-discarded",
        "law 8",
        "A small file that was not finished leaves nothing behind.",
        Edit(SMALL, "discard(name, parent)", "pass"),
        f"{HOSTILE}::test_small_file_that_was_interrupted_leaves_nothing_behind",
    ),
    defence(
        "restore-small-in-chunk",
        "law 8",
        "A small file whose extent points outside of its chunk is refused.",
        Edit(SMALL, "if len(data) != entry.size:", "if False:", (NO_SMALL_HASH,)),
        f"{ADDS_UP}[extent beyond the chunk-fresh]",
    ),
    defence(
        "restore-extent-in-chunk",
        "law 8",
        "An extent that points outside of its chunk is refused.",
        (
            Edit("agents.engine.restoring:Restorer._write", "if end > len(plaintext):", "if False:"),
            NOTHING_ADDS_UP,
        ),
        f"{ADDS_UP}[extent beyond the chunk-overwriting]",
    ),
    defence(
        "restore-path-order",
        "law 8",
        "Entries come in path order, each path once.",
        Edit(
            "agents.engine.reading:PathOrder.check",
            "if self._key is not None and key <= self._key and not self._continues(key, entry):",
            "if False:",
        ),
        f"{HOSTILE}::test_entries_out_of_order_are_refused",
        f"{HOSTILE}::test_same_name_twice_keeps_the_first_and_names_the_second",
    ),
    defence(
        "restore-no-setuid",
        "law 8",
        "setuid and setgid are left out unless asked for.",
        Edit("agents.engine.placing:Placer.dress", "keep_setuid=self._options.keep_setuid", "keep_setuid=True"),
        f"{HOSTILE}::test_setuid_and_setgid_are_left_out_unless_asked",
    ),
    defence(
        "restore-chunk-checked",
        "law 8",
        "A damaged chunk costs its file: no wrong bytes get a name.",
        (
            Edit(
                "agents.engine.sealing:ChunkSealer.open",
                "if not hmac.compare_digest(blake3(plaintext).digest(), h):",
                "if False:",
            ),
            Edit(FINISH, *NO_HASH),
            Edit(SMALL, *NO_SMALL_HASH),
        ),
        f"{READING}::test_chunk_of_right_seal_and_wrong_content_costs_its_file",
    ),
    defence(
        "resume-by-content",
        "law 8",
        "A file of an earlier restore counts only by the hash of its content.",
        Edit("agents.engine.placing:Placer.keeps", "if _digest(file) != entry.digest:", "if False:"),
        f"{RESUMING}::test_a_file_of_the_same_size_with_other_content_is_replaced",
    ),
    defence(
        "resume-not-through-links",
        "law 8",
        "A file that has another name, outside of the target perhaps, is never given owner, mode or times.",
        Edit("agents.engine.placing:Placer.keeps", "found.st_nlink != 1", "False"),
        f"{RESUMING}::test_what_somebody_else_has_another_name_of_is_not_touched",
    ),
    defence(
        "from-target-cold-is-not-lost",
        "law 7",
        "While packs of a store lie in cold storage, what is in no other pack is not called lost.",
        Edit("agents.from_target.records:RecordReader._lost", "if self._index.cold.packs", "if False"),
        "tests/rebuild/test_from_cold_target.py::test_what_may_be_in_a_cold_pack_is_not_called_lost",
    ),
    defence(
        "scan-no-follow",
        "law 8",
        "A backup does not enter what was swapped for a link.",
        (
            Swap("agents.engine.opening:_DIRECTORY", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC),
            Edit("agents.engine.opening:open_directory", "if not is_same(os.fstat(descriptor), seen):", "if False:"),
        ),
        "tests/engine/test_scanning.py::test_directory_swapped_for_a_link_is_not_entered",
    ),
    defence(
        "thaw-looking-ends",
        "law 10",
        "A server that always has more to look at for cold storage does not hold a restore for ever.",
        Edit("agents.transport.thawing:Thawing._look", "if not state.asked and", "if False and"),
        "tests/agent/test_waiting_for_thaw.py::test_a_server_that_always_knows_more_to_look_at_is_given_up",
    ),
    defence(
        "thaw-any-end-is-heard",
        "law 10",
        "Whatever ends the waiting for cold storage, the chunks that wait hear of it.",
        Edit("agents.transport.thawing:_fault_of", "except Exception as raised:", "except AgentError as raised:"),
        "tests/agent/test_waiting_for_thaw.py::test_whatever_ends_the_waiting_those_who_wait_hear_of_it",
    ),
)
