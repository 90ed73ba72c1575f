"""Quotas of tenants: who sets them, what they refuse, and what they never touch."""

from __future__ import annotations

from tests.defences.defence import defence
from tests.defences.removal import Edit, Sql, Words

ROOM, QUOTAS = "backup_platform.tenants.room", "backup_platform.tenants.quotas"
SERVICES, GATEWAY = "tests/tenants/test_quotas.py", "tests/gateway/test_quotas.py"
WAITING = "tests/jobs/test_no_room.py"
COUNTED = "tests/tenants/test_stored.py"
PAGES = "tests/admin/test_quotas.py"
TRIGGER = "FOR EACH ROW WHEN (OLD.bytes <> NEW.bytes OR OLD.place <> NEW.place) EXECUTE FUNCTION tenants_note_stored()"

ROWS = (
    defence(
        "quota-of-the-platform",
        "law 5",
        "Quotas are set by the platform's superusers, never by the tenant's own people.",
        Edit(f"{QUOTAS}:set_quotas", "if not (by.is_platform_staff and by.user.is_superuser):", "if False:"),
        f"{SERVICES}::test_nobody_of_the_tenant_sets_its_quotas_and_neither_does_staff_that_only_looks",
    ),
    defence(
        "quota-audited",
        "law 9",
        "Setting a quota leaves a line in the audit.",
        Edit(f"{QUOTAS}:set_quotas", "record_audit(", "(lambda *_, **__: None)("),
        f"{PAGES}::test_a_superuser_sets_them_in_the_tenants_form_and_the_audit_has_a_line",
    ),
    defence(
        "quota-of-part-of-a-tenant",
        "law 5",
        "Members of some machine groups do not learn what the whole tenant uses.",
        Edit(
            "backup_platform.api.usage:UsageView.get",
            "actor.tenant is None or actor.is_limited",
            "actor.tenant is None",
        ),
        f"{PAGES}::test_members_of_some_groups_do_not_see_what_the_whole_tenant_uses",
    ),
    defence(
        "quota-new-sessions",
        "law 10",
        "When the quota is used up, no new backup begins.",
        Edit(f"{ROOM}:check_begin", "if not stored.full or", "if True or"),
        f"{GATEWAY}::test_a_new_backup_is_refused_at_begin_and_begins_when_there_is_room",
        f"{SERVICES}::test_no_new_backup_begins_from_the_quota_on_and_the_sentence_says_what_to_do",
    ),
    defence(
        "quota-sessions-under-way",
        "law 10",
        "A session under way overruns the quota by a bounded amount.",
        Edit(f"{ROOM}:check_pack", "stored.over <= stored.quota // OVERRUN", "True"),
        f"{GATEWAY}::test_a_session_under_way_overruns_by_a_bounded_amount_and_loses_nothing_that_was_acknowledged",
        f"{SERVICES}::test_sessions_under_way_may_use_a_twentieth_more[1051-False]",
    ),
    defence(
        "quota-commits",
        "law 1",
        "What was acknowledged can be committed, however much is used: going on with a session is not refused.",
        Edit(f"{ROOM}:check_begin", "_is_under_way(machine_id) or", ""),
        f"{GATEWAY}::test_what_is_complete_is_committed_however_much_is_used",
        fails_as="agent_peer.Failed",
    ),
    defence(
        "quota-heals",
        "law 1",
        "Chunks that heal are taken whatever is used.",
        Edit(f"{ROOM}:check_begin", "or _wanted(machine_id).exists()", ""),
        f"{GATEWAY}::test_chunks_that_heal_are_taken_whatever_is_used_and_nothing_else_is",
        f"{SERVICES}::test_a_machine_that_is_asked_for_chunks_may_begin_whatever_is_used",
        fails_as="agent_peer.Failed",
    ),
    defence(
        "quota-heals-nothing-else",
        "law 10",
        "Being asked for a chunk is no way around the quota: each record is looked at.",
        Edit(
            "backup_platform.gateway.arriving:Arriving._append_batch",
            "if self._pack is None or self._only_wanted:",
            "if self._pack is None:",
        ),
        f"{GATEWAY}::test_chunks_that_heal_are_taken_whatever_is_used_and_nothing_else_is",
        fails_as="TimeoutError",
    ),
    defence(
        "quota-of-machines",
        "law 10",
        "No more machines are enrolled than the tenant may have, and the refusal costs no use of the token.",
        Edit("backup_platform.fleet.services:enroll_machine", "check_room_for_machine(found.tenant_id)", "pass"),
        f"{GATEWAY}::test_a_machine_beyond_the_quota_is_not_enrolled_and_its_token_stays_good",
    ),
    defence(
        "quota-costs-no-attempts",
        "jobs",
        "A backup that waits for room is not offered, so that waiting uses up no attempts.",
        Words("backup_platform.jobs.offering:WAITING_SQL", "NOT machine.tenant_id = ANY(%(no_room)s)", "true"),
        f"{WAITING}::test_a_backup_is_not_offered_while_the_quota_is_used_up_and_is_at_once_when_there_is_room",
        f"{WAITING}::test_an_attempt_that_the_quota_ended_counts_once_and_keeps_its_words",
    ),
    defence(
        "quota-counts-what-left",
        "law 10",
        "What a tenant stores is counted by the database itself, whoever changes packs.",
        Sql(
            "tenants migration 0003:pack_is_counted_again",
            "DROP TRIGGER pack_is_counted_again ON catalog_pack",
            f"CREATE TRIGGER pack_is_counted_again AFTER UPDATE OF bytes, place ON catalog_pack {TRIGGER}",
        ),
        f"{COUNTED}::test_a_pack_counts_once_wherever_it_is_until_its_files_are_removed",
        f"{COUNTED}::test_an_open_pack_counts_from_its_sealing_and_a_discarded_one_never",
    ),
)
