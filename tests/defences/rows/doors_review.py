"""What a stolen account, a hostile endpoint or a stale form may not get out of the doors that were built last."""

from __future__ import annotations

from ipaddress import ip_network

from tests.defences.defence import defence
from tests.defences.removal import Edit, Swap

HTTP = "tests/notifications/test_safe_http.py"
DOORS = "tests/retention/test_doors_review.py"
ADDRESSES = "backup_platform.safe_addresses"

ROWS = (
    defence(
        "address-not-routed",
        "secrecy",
        "Only IPv6 addresses that are routed in public are public; what the library's tables forgot is not.",
        Swap(f"{ADDRESSES}:UNICAST", ip_network("::/0")),
        f"{HTTP}::test_addresses_of_the_inside_are_refused[fec0::2]",
    ),
    defence(
        "metadata-carried",
        "secrecy",
        "An address that carries another one leads to no cloud's own service, where all networks are allowed too.",
        Swap(f"{ADDRESSES}:_carried", lambda address: []),
        f"{HTTP}::test_no_address_that_carries_anothers_leads_to_a_clouds_own_service",
    ),
    defence(
        "two-persons-for-older-holds",
        "law 4",
        "Once two persons must agree, one cannot free the holds of before by switching that off.",
        Edit(
            "backup_platform.retention.services:set_rules",
            "row.release_needs_second and not former.release_needs_second",
            "False",
        ),
        f"{DOORS}::test_switching_two_persons_on_and_off_again_frees_no_hold_that_was_set_before",
    ),
    defence(
        "stop-as-shown",
        "law 4",
        "Who confirms a stopped expiry confirms what was shown, and nothing that came since.",
        Swap("backup_platform.retention.admin.stops:_fingerprint", lambda stop: ""),
        f"{DOORS}::test_a_stopped_expiry_is_confirmed_as_it_was_shown",
    ),
    defence(
        "one-preview-a-tenant",
        "law 10",
        "A tenant's previews are made one at a time: they read all that it has, where everybody's pages are made.",
        Swap("backup_platform.retention.one_preview:_lock", lambda function, tenant_id: True),
        f"{DOORS}::test_a_tenants_previews_are_made_one_at_a_time",
    ),
    defence(
        "restores-tried-again",
        "law 5",
        "A restore is tried again by those only who may ask for one.",
        Swap("backup_platform.jobs.admin.acts:_may_ask_for", lambda request, job: True),
        "tests/jobs/test_pages.py::test_a_restore_is_tried_again_by_those_only_who_may_ask_for_one",
    ),
    defence(
        "removed-thresholds-audited",
        "law 9",
        "Removing the thresholds that decide what is never heard of leaves a line.",
        Edit(
            "backup_platform.notifications.admin.quiet:WatchRulesAdmin.delete_model",
            'self._note(request, obj, "thresholds.removed")',
            "pass",
        ),
        "tests/notifications/test_pages.py::test_thresholds_that_are_removed_leave_a_line",
    ),
    defence(
        "operator-key-audited",
        "law 9",
        "Another key for the platform's own backups leaves a line that names the former one too.",
        Edit(
            "backup_platform.rebuilding.platform_backup.operator_key:install_public_key",
            "before=_former()",
            "before=None",
        ),
        "tests/rebuild/test_platform_backup.py::test_another_operators_key_leaves_a_line_that_names_both",
    ),
    defence(
        "stale-form-and-keys",
        "secrecy",
        "A form that was read before the endpoint changed does not put the former keys under the new one.",
        Edit("backup_platform.targets.services:_take_over", "target.sealed = before.sealed", "pass"),
        "tests/targets/test_stale_changes.py::test_keys_that_a_stale_form_holds_do_not_follow_the_endpoint",
    ),
    defence(
        "stale-form-and-state",
        "law 4",
        "A form that was read before does not put a paused or draining target back into use.",
        (
            Swap("backup_platform.targets.services:KEPT", ("name", "state")),
            Edit("backup_platform.targets.services:_take_over", "target.state = before.state", "pass"),
        ),
        "tests/targets/test_stale_changes.py::test_a_stale_form_does_not_undo_what_others_did",
    ),
    defence(
        "bodies-are-bounded",
        "law 10",
        "A request carries a bounded amount: who says that it is more is refused, who does not say is cut off.",
        Edit(
            "backup_platform.console.bodies:BoundedBodies.__call__",
            "_stated(scope) > MOST_BYTES",
            "False",
            (("left >= 0", "True"),),
        ),
        "tests/console/test_bodies.py::test_a_body_that_says_it_is_too_large_is_not_read_at_all",
        "tests/console/test_bodies.py::test_a_body_without_an_end_is_read_in_part_only",
    ),
    defence(
        "api-bodies-are-bounded",
        "law 10",
        "The API reads no more than a bounded body into memory.",
        Edit("backup_platform.api.parsers:BoundedJSONParser.parse", "len(body) > MOST_BYTES", "False"),
        "tests/console/test_bodies.py::test_the_api_reads_a_bounded_body",
    ),
    defence(
        "targets-in-turns",
        "law 5",
        "Sweeps over all targets let the owners take turns, so that one tenant's slow endpoints hold up nobody else.",
        Edit(
            "backup_platform.targets.watching:_in_turns",
            "by_owner[target.tenant_id]",
            "by_owner[None]",
            (("random.shuffle(mine)", "mine.sort(key=lambda one: one.name)"),),
        ),
        "tests/targets/test_turns.py::test_one_tenants_many_slow_targets_hold_up_nobody_elses",
    ),
    defence(
        "api-cursors-are-anybodys-text",
        "law 10",
        "A cursor that no page gave is refused in words; it never reaches the database.",
        Edit("backup_platform.api.views:ByName.decode_cursor", "if place is None:", "if False:"),
        "tests/console/test_api_bad_input.py::test_a_cursor_that_no_page_gave_is_told",
    ),
    defence(
        "hold-ends-within-the-calendar",
        "law 4",
        "A hold's end is kept in UTC, so that no row of a year comes to be that nobody can read again.",
        Edit("backup_platform.retention.holds_extending:read_end", "found.astimezone(UTC)", "found"),
        "tests/retention/test_extending_holds.py::test_what_is_no_end_is_said",
    ),
    defence(
        "genuine-backups-stay",
        "law 4",
        "Names from the future beside them let none of the platform's last own backups go.",
        Edit(
            "backup_platform.rebuilding.platform_backup.putting:_let_oldest_go",
            'key.rpartition("/")[2] not in staying',
            "key",
        ),
        "tests/rebuild/test_platform_backup_trust.py::test_names_from_the_future_let_no_genuine_backup_go",
    ),
)
