"""Law 5, a tenant's wall, and law 9, the audit; and who may be enrolled."""

from __future__ import annotations

from tests.defences.defence import defence
from tests.defences.removal import Edit, Sql

SCOPE = "tests/tenants/test_scope.py"
ADMIN = "tests/admin/test_registry.py"
ACTS = "tests/admin/test_acts.py"
AUDIT = "tests/audit/test_chain.py"
ENROLLING = "tests/fleet/test_enrollment.py"
APPROVAL = "tests/fleet/test_approval.py"
LIMITS = "tests/tenants/test_limits.py"
PEOPLE = "tests/tenants/test_people.py"
FACTOR = "tests/console/test_second_factor.py"
TABLE = "tests/admin/test_access_table.py"
QUERYSET = "backup_platform.tenants.querysets:TenantQuerySet"
FLEET = "backup_platform.fleet.services"
PAGE = "backup_platform.console.model_admin:StrongroomModelAdmin"
CHAIN = "backup_platform.audit.chain:find_break"
TAMPERED = f"{AUDIT}::test_verify_audit_names_the_first_line_that_does_not_fit"
UPDATE, DELETE, EMPTY = "UPDATE audit_entry SET actor = 'nobody'", "DELETE FROM audit_entry", "TRUNCATE audit_entry"

ROWS = (
    defence(
        "scope-fails-closed",
        "law 5",
        "A query without a tenant scope fails, and one inside a scope sees that tenant only.",
        Edit(
            "backup_platform.tenants.scoped_query:TenantQuery.scoped",
            "tenant_id = current_scope().tenant_id",
            "tenant_id = None",
        ),
        f"{SCOPE}::test_every_way_to_rows_fails_without_a_scope[count-objects]",
        f"{SCOPE}::test_every_way_to_rows_fails_without_a_scope[iteration-_base_manager]",
        f"{SCOPE}::test_scope_narrows_every_read",
        f"{SCOPE}::test_subqueries_are_narrowed_too",
    ),
    defence(
        "scope-bulk-writes",
        "law 5",
        "Bulk writes touch the tenant's rows only.",
        Edit(
            "backup_platform.tenants.scoped_query:TenantQuery.chain",
            "foreign = klass is not None and not issubclass(klass, TenantQuery)",
            "foreign = False",
        ),
        f"{SCOPE}::test_bulk_writes_touch_the_tenants_rows_only",
    ),
    defence(
        "scope-raw-delete",
        "law 5",
        "Django's quick deletion is narrowed too.",
        Edit(f"{QUERYSET}._raw_delete", "narrowed.query = narrowed.query.scoped()", "pass"),
        f"{SCOPE}::test_bulk_writes_touch_the_tenants_rows_only",
    ),
    defence(
        "scope-raw-sql",
        "law 5",
        "SQL by hand is refused inside a tenant's scope.",
        Edit(f"{QUERYSET}.raw", "if current_scope().tenant_id is not None:", "if False:"),
        f"{SCOPE}::test_sql_by_hand_needs_the_platforms_scope",
        f"{SCOPE}::test_every_way_to_rows_fails_without_a_scope[raw-objects]",
    ),
    defence(
        "scope-upsert",
        "law 5",
        "An upsert, which could overwrite a row out of sight, is refused inside a tenant's scope.",
        Edit(
            f"{QUERYSET}.bulk_create",
            'if kwargs.get("update_conflicts") and scope.tenant_id is not None:',
            "if False:",
        ),
        f"{SCOPE}::test_an_upsert_needs_the_platforms_scope",
        fails_as="utils.IntegrityError",
    ),
    defence(
        "scope-objects",
        "law 5",
        "An object of another tenant cannot be saved or deleted.",
        Edit("backup_platform.tenants.querysets:check_belongs", "if owner != scope.tenant_id:", "if False:"),
        f"{SCOPE}::test_objects_of_another_tenant_cannot_be_written",
        fails_as="utils.IntegrityError",
    ),
    defence(
        "scope-moves",
        "law 5",
        "A row cannot be given to another tenant.",
        Edit(
            f"{QUERYSET}._refuse_move",
            "if scope.tenant_id is not None and not (direct and str(value) == str(scope.tenant_id)):",
            "if False:",
        ),
        f"{SCOPE}::test_rows_cannot_be_given_to_another_tenant",
        fails_as="utils.IntegrityError",
    ),
    defence(
        "scope-nesting",
        "law 5",
        "A tenant's scope is not opened inside another tenant's.",
        Edit(
            "backup_platform.tenants.ambient:tenant_scope",
            "if outer is not None and outer.tenant_id not in (None, tenant_id):",
            "if False:",
        ),
        f"{SCOPE}::test_scopes_do_not_nest_across_tenants_and_end_with_their_block",
    ),
    defence(
        "scope-of-chunk-tables",
        "law 5",
        "The chunk tables, which have no models, ask whose vault it is.",
        Edit(
            "backup_platform.catalog.chunk_index:check_vault_in_scope",
            "if cursor.fetchone() is None:",
            "if False:",
        ),
        "tests/catalog/test_present.py::test_another_tenants_vault_cannot_be_asked",
        "tests/catalog/test_scope.py::test_in_another_tenants_scope_nothing_is_found_and_nothing_changes",
    ),
    defence(
        "scope-of-jobs",
        "law 5",
        "Work for another tenant cannot be put on the list.",
        Edit("backup_platform.jobs.services:enqueue", "if current_tenant_id() not in (None, tenant_id):", "if False:"),
        "tests/jobs/test_life_of_a_job.py::test_a_job_of_another_tenant_cannot_be_made_in_a_tenants_scope",
    ),
    defence(
        "scope-of-requests",
        "law 5",
        "A member's request runs in their tenant's scope.",
        Edit(
            "backup_platform.tenants.middleware:scope_of",
            "return tenant_scope(actor.tenant, actor.groups)",
            "return without_tenant_scope('taken away')",
        ),
        f"{TABLE}::test_members_open_what_their_role_allows_and_never_see_another_tenant[admin]",
        f"{ACTS}::test_another_tenants_machine_cannot_be_revoked",
        "tests/console/test_api.py::test_members_read_their_own_machines_and_snapshots",
    ),
    defence(
        "admin-base",
        "law 5",
        "A tenant's page over rows that nothing narrows fails.",
        Edit(
            "backup_platform.console.model_admin:_scoped",
            "if not isinstance(queryset, TenantQuerySet):",
            "if False:",
        ),
        f"{ADMIN}::test_a_tenants_page_over_rows_that_nothing_narrows_refuses_to_list_them",
    ),
    defence(
        "admin-lookups",
        "law 5",
        "An address cannot ask about columns that no page shows.",
        Edit(
            f"{PAGE}.lookup_allowed",
            'return lookup in {"pk", "pk__exact"} or (',
            "return True or (",
        ),
        f"{ADMIN}::test_addresses_cannot_ask_about_columns_that_no_page_shows",
        fails_as="KeyError",
    ),
    defence(
        "admin-roles",
        "law 5",
        "A role opens no page that its permissions do not name.",
        Edit(
            "backup_platform.tenants.access:may",
            "return bool(RULES.get((model, action), frozenset()) & (actor.permissions | {MEMBERSHIP}))",
            "return True",
        ),
        f"{ACTS}::test_a_viewer_opens_neither_audit_nor_members_nor_packs",
    ),
    defence(
        "services-ask",
        "law 5",
        "Services that people call ask for the right themselves, whatever the page asked.",
        Edit("backup_platform.tenants.asking:allowed", "check(asker, permission, obj)", "pass"),
        f"{APPROVAL}::test_roles_that_only_look_decide_nothing[viewer]",
        f"{APPROVAL}::test_another_tenants_machine_looks_like_missing",
    ),
    defence(
        "limits-to-groups",
        "law 5",
        "A member limited to machine groups sees only what belongs to their machines, in every query.",
        Edit(
            "backup_platform.tenants.limits:narrow_to_groups",
            "if groups is None:",
            "if True:",
        ),
        f"{LIMITS}::test_only_what_belongs_to_the_groups_machines_is_seen[Machine-name]",
        f"{LIMITS}::test_only_what_belongs_to_the_groups_machines_is_seen[JobLine-text]",
        "tests/fleet/test_approval.py::test_who_is_limited_to_groups_decides_about_their_machines_only",
    ),
    defence(
        "limits-hold-inside",
        "law 5",
        "The limit to groups holds in scopes that are opened inside it.",
        Edit(
            "backup_platform.tenants.ambient:tenant_scope",
            "outer.groups if outer is not None and outer.groups is not None else groups",
            "groups",
        ),
        f"{LIMITS}::test_the_limit_holds_in_scopes_inside_and_is_lifted_by_name_only",
    ),
    defence(
        "roles-escalation",
        "law 5",
        "Nobody gives a role, or changes one, to hold more than they hold themselves.",
        Edit(
            "backup_platform.tenants.people:_check_holds",
            "if missing := sorted(permissions - by.permissions):",
            "if missing := []:",
        ),
        f"{PEOPLE}::test_nobody_gives_more_than_they_hold",
        f"{PEOPLE}::test_nobody_takes_from_somebody_who_holds_more",
    ),
    defence(
        "last-administrator",
        "law 5",
        "A tenant's last administrator can be neither removed nor demoted.",
        Edit("backup_platform.tenants.people:_check_admin_left", "if not admins.exists():", "if False:"),
        f"{PEOPLE}::test_the_last_administrator_stays",
    ),
    defence(
        "pending-machine",
        "enrolment",
        "A machine that waits for approval may publish its record and nothing else.",
        Edit("backup_platform.fleet.access:authenticate", "if machine.state != MachineState.ACTIVE:", "if False:"),
        f"{APPROVAL}::test_a_machine_that_needs_approval_may_publish_its_record_and_nothing_else",
    ),
    defence(
        "second-factor",
        "law 5",
        "Whoever has a second factor reaches nothing with the password alone.",
        Edit(
            "backup_platform.console.second_factor_session:is_verified",
            "return bool(request.session.get(VERIFIED) == factor.pk)",
            "return True",
        ),
        f"{FACTOR}::test_the_password_alone_opens_nothing",
    ),
    defence(
        "second-factor-once",
        "law 5",
        "A one-time password counts once.",
        Edit("backup_platform.tenants.second_factor:_matching_counter", "if counter > after and ", "if "),
        f"{FACTOR}::test_a_code_counts_once",
    ),
    defence(
        "second-factor-tries",
        "law 5",
        "After a few wrong codes none is looked at for a while, whatever the password does.",
        Edit("backup_platform.tenants.second_factor:_judge", "if _is_paused(row, now):", "if False:"),
        f"{FACTOR}::test_after_a_few_wrong_codes_none_is_looked_at_for_a_while",
    ),
    defence(
        "second-factor-asked",
        "law 5",
        "A tenant that asks its members for a second factor lets none of them work without.",
        Edit(
            "backup_platform.tenants.second_factor:must_set_up",
            "tenant and tenant.requires_totp and not is_staff and factor_of(user) is None",
            "False",
        ),
        f"{FACTOR}::test_a_tenant_that_asks_for_it_lets_nobody_work_without",
        fails_as="KeyError",
    ),
    defence(
        "token-single-use",
        "enrolment",
        "A token's use is taken by one conditional UPDATE: of two at once, one wins.",
        Edit(f"{FLEET}:_take_use", ".filter(_usable(), pk=token.pk)", ".filter(pk=token.pk)"),
        f"{ENROLLING}::test_of_two_enrolments_with_a_one_use_token_exactly_one_wins",
        fails_as="TypeError IndexError",
    ),
    defence(
        "token-usable",
        "enrolment",
        "A used, expired or withdrawn token is refused.",
        (
            Edit(
                f"{FLEET}:enroll_machine", ".filter(_usable(), token_hash=token_hash)", ".filter(token_hash=token_hash)"
            ),
            Edit(f"{FLEET}:_take_use", ".filter(_usable(), pk=token.pk)", ".filter(pk=token.pk)"),
        ),
        f"{ENROLLING}::test_unknown_used_up_expired_and_withdrawn_get_the_same_sentence",
        fails_as="utils.IntegrityError",
    ),
    defence(
        "blob-forgotten",
        "enrolment",
        "The blob is emptied at the last use.",
        Edit(
            f"{FLEET}:_take_use",
            'EnrollmentToken.objects.filter(pk=token.pk, uses_left=0).update(blob=b"")',
            "pass",
        ),
        f"{ENROLLING}::test_the_last_use_empties_the_blob_and_earlier_ones_do_not",
    ),
    defence(
        "blob-forgotten-in-time",
        "enrolment",
        "The blob is emptied when the token's time is over.",
        Edit(
            "backup_platform.fleet.tokens:forget_expired_blobs",
            'expired.update(blob=b"", uses_left=0)',
            "expired.update(uses_left=0)",
        ),
        f"{ENROLLING}::test_expired_blobs_are_forgotten",
    ),
    defence(
        "csr-possession",
        "enrolment",
        "A certificate is issued only for a key that signed the request.",
        Edit("backup_platform.fleet.requests:_identity_of", "if not proven:", "if False:"),
        f"{ENROLLING}::test_a_csr_needs_proof_of_possession",
    ),
    defence(
        "registration-signature",
        "vault record",
        "The platform registers no vault record that its own signing key did not sign.",
        Edit(
            "backup_platform.vaults.registration:_check_keys",
            "if not signature_matches(body.signing_key, signed.signed_bytes(), signed.signature):",
            "if False:",
        ),
        "tests/vaults/test_registration.py::test_an_unsound_registration_is_refused_by_name[0]",
    ),
    defence(
        "audit-line-digest",
        "law 9",
        "A line that was changed after it was written is found.",
        Edit(CHAIN, "if entry_digest(entry) != bytes(entry.digest):", "if False:"),
        f"{TAMPERED}[{UPDATE} WHERE id = %s]",
    ),
    defence(
        "audit-line-previous",
        "law 9",
        "A line that was removed, added or moved is found.",
        Edit(CHAIN, "if bytes(entry.previous) != previous:", "if False:"),
        f"{TAMPERED}[{DELETE} WHERE id = %s]",
    ),
    defence(
        "audit-trigger",
        "law 9",
        "No role changes or deletes a line: a trigger refuses it to the owner too.",
        Sql(
            "audit migration 0002:audit_entry_append_only",
            "ALTER TABLE audit_entry DISABLE TRIGGER audit_entry_append_only",
            "ALTER TABLE audit_entry ENABLE TRIGGER audit_entry_append_only",
        ),
        *(f"{AUDIT}::test_the_owner_is_refused_by_the_trigger[{change}]" for change in (UPDATE, DELETE)),
    ),
    defence(
        "audit-rights",
        "law 9",
        "The application's role has no right to change, delete or empty the audit.",
        Sql(
            "backup_platform.embedded.database_roles:APPEND_ONLY_TABLES",
            "GRANT UPDATE, DELETE, TRUNCATE ON audit_entry TO strongroom_app",
            "REVOKE UPDATE, DELETE, TRUNCATE ON audit_entry FROM strongroom_app",
        ),
        *(
            f"{AUDIT}::test_the_application_role_has_no_right_to_rewrite[{change}]"
            for change in (UPDATE, DELETE, EMPTY)
        ),
    ),
    defence(
        "audit-own-tenant",
        "law 9",
        "A scope cannot write another tenant's audit.",
        Edit(
            "backup_platform.audit.services:record",
            "if has_scope() and current_tenant_id() not in (None, tenant_id) and tenant_id is not None:",
            "if False:",
        ),
        f"{AUDIT}::test_a_scope_cannot_write_another_tenants_audit",
        fails_as="utils.IntegrityError",
    ),
    defence(
        "audit-of-revocation",
        "law 9",
        "A revocation leaves a line in the audit.",
        Edit("backup_platform.fleet.approval:_move", "record_audit(verb,", "(lambda *_, **__: None)("),
        f"{ACTS}::test_revoking_asks_first_and_is_audited",
        fails_as="IndexError",
    ),
    defence(
        "audit-of-enrolment",
        "law 9",
        "An enrolment leaves a line in the audit.",
        Edit(f"{FLEET}:enroll_machine", "record_audit(", "(lambda *_, **__: None)("),
        f"{ENROLLING}::test_enrolment_is_audited_without_the_token",
    ),
    defence(
        "audit-of-withdrawal",
        "law 9",
        "Withdrawing an enrolment leaves a line in the audit.",
        Edit("backup_platform.fleet.tokens:withdraw_token", "record_audit(", "(lambda *_, **__: None)("),
        f"{ACTS}::test_withdrawing_an_enrolment_empties_its_blob",
        fails_as="IndexError",
    ),
)
