"""The agent: what it may believe of its own cache, and what it does when the server speaks."""

from __future__ import annotations

from tests.defences.defence import defence
from tests.defences.removal import Edit

CACHE = "tests/engine/test_cache.py"
BACKUP = "tests/engine/test_backing_up.py"
HOSTILE = "tests/hostile/test_hostile_server.py"

ROWS = (
    defence(
        "cache-after-acknowledgement",
        "law 1",
        "What was staged in the cache becomes valid only with the acknowledged statement.",
        Edit(
            "agents.engine.cache:Cache.switch",
            "if self._broken or staged is None or staged.statement != statement:",
            "if self._broken or staged is None:",
        ),
        f"{CACHE}::test_staged_rows_are_invisible_until_their_statement_is_acknowledged",
    ),
    defence(
        "cache-switched-after-commit",
        "law 1",
        "The cache is switched after the commit was answered, not before.",
        Edit(
            "agents.engine.backing_up:_Backup._commit",
            "answer = self._link.commit(",
            "self._cache.switch(statement.digest)\n    answer = self._link.commit(",
        ),
        f"{BACKUP}::test_commit_that_never_arrived_is_dropped_and_made_anew",
    ),
    defence(
        "pending-statement-outside-the-cache",
        "law 1",
        "A commit whose answer was lost is recognised by the statement that was kept before it was sent.",
        Edit(
            "agents.engine.backing_up:_Backup._commit", "self._home.save_pending_statement(statement.encode())", "pass"
        ),
        f"{BACKUP}::test_lost_acknowledgement_is_recognised_by_the_next_backup",
        fails_as="errors.Refused FileNotFoundError",
    ),
    defence(
        "times-older-than-the-scan",
        "law 2",
        "A file whose times are not safely older than the scan is read again.",
        Edit(
            "agents.engine.describing:trusted_key",
            "is_old = max(key[5], key[6]) < started_ns - (COARSE_TICK_NS if coarse else TICK_NS)",
            "is_old = True",
        ),
        f"{CACHE}::test_times_within_a_tick_of_the_scan_are_not_trusted",
        f"{BACKUP}::test_file_times_that_are_too_young_are_not_trusted",
    ),
    defence(
        "ctime-counts",
        "law 2",
        "A file whose size and mtime were put back is read again: its ctime counts.",
        (
            Edit("agents.engine.saving:Saver.run", "info.st_ctime_ns,", "0,"),
            Edit("agents.engine.describing:key_of", "info.st_ctime_ns,", "0,"),
        ),
        f"{BACKUP}::test_file_whose_size_and_time_were_put_back_is_read_again",
    ),
    defence(
        "generation-asks-again",
        "law 1",
        "When the catalogue's generation changed, every cached id is asked about.",
        Edit(
            "agents.engine.backing_up:_Backup._lost", "return find_lost(base, self._cache, self._link)", "return set()"
        ),
        f"{BACKUP}::test_changed_generation_makes_every_id_asked_and_the_lost_ones_sent",
    ),
    defence(
        "missing-at-commit-sent-again",
        "law 1",
        "What the server lacks at commit is read and sent again.",
        Edit(
            "agents.engine.backing_up:_Backup._run",
            "lost, repack = answer.missing, frozenset()",
            "lost, repack = frozenset(), frozenset()",
        ),
        f"{BACKUP}::test_chunks_missing_at_commit_are_read_and_sent_again",
        fails_as="errors.Refused",
    ),
    defence(
        "drain-before-commit",
        "law 1",
        "A commit is sent only after everything before it is acknowledged.",
        Edit("agents.engine.backing_up:_Backup._run", "self._link.drain()", "pass"),
        f"{BACKUP}::test_nothing_is_committed_before_everything_is_acknowledged",
    ),
    defence(
        "unacknowledged-kept",
        "law 1",
        "The agent keeps sealed bytes until they are acknowledged, and sends them again on the next connection.",
        Edit("agents.transport.link:GatewayLink._start_over", "self._unsent.extendleft(reversed(self._sent))", "pass"),
        "tests/agent/test_link.py::test_backup_survives_a_connection_that_dies_at_any_step[flush-100]",
        "tests/agent/test_link.py::test_only_what_was_not_acknowledged_is_sent_again",
    ),
    defence(
        "cache-bound-to-vault",
        "law 5",
        "A cache of another vault, epoch or machine is thrown away.",
        Edit("agents.engine.cache:_prepare", "elif found[0] != ours:", "elif False:"),
        f"{CACHE}::test_cache_of_another_vault_epoch_or_machine_is_thrown_away",
    ),
    defence(
        "cache-digests",
        "law 2",
        "A damaged cache never makes a wrong snapshot.",
        Edit("agents.engine.cache:Cache._body", "if blake3(packed).digest() != digest:", "if False:"),
        f"{CACHE}::test_body_that_differs_from_its_head_is_damage",
    ),
    defence(
        "cache-overwrites-capabilities",
        "secrecy",
        "Read capabilities that the latest snapshot does not need are overwritten on the disk.",
        Edit("agents.engine.cache:_prepare", '"secure_delete = ON"', '"secure_delete = OFF"'),
        f"{CACHE}::test_deleted_read_capabilities_are_overwritten_on_disk",
    ),
    defence(
        "cache-private",
        "secrecy",
        "The cache is readable by its owner alone.",
        Edit(
            "agents.engine.cache:Cache._connect",
            "os.O_NOFOLLOW, 0o600))",
            "os.O_NOFOLLOW, 0o666))",
            (("os.chmod(self._path, 0o600)", "pass"),),
        ),
        f"{BACKUP}::test_cache_file_is_only_for_its_owner",
    ),
    defence(
        "welcome-is-ours",
        "vault record",
        "A WELCOME for another machine, tenant or vault is refused.",
        Edit(
            "agents.transport.greeting:check_welcome",
            "if (welcome.machine_id, welcome.tenant_id) != (machine.machine_id, machine.tenant_id):",
            "if False:",
            (("if welcome.vault_id != machine.vault_id:", "if False:"),),
        ),
        *(
            f"tests/agent/test_greeting.py::test_welcome_that_does_not_verify_is_refused_with_code_4[changes{n}-{kind}]"
            for n, kind in ((4, "UntrustedVault"), (5, "AuthenticationFault"), (6, "AuthenticationFault"))
        ),
    ),
)
