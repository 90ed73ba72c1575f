"""The audit: its chain holds under writers at once, shows every tampering, and cannot be rewritten."""

from __future__ import annotations

from datetime import UTC, datetime
from threading import Barrier, Thread
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction

from backup_platform.audit.models import Entry
from backup_platform.audit.queries import check_chains
from backup_platform.audit.services import record
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import ScopeError, tenant_scope, without_tenant_scope


@pytest.fixture
def tenant(db) -> Tenant:
    with without_tenant_scope("test data"):
        return Tenant.objects.create(name="acme")


def write_lines(tenant, count=5):
    return [record(f"test.{n}", actor="somebody", object=f"thing {n}", tenant=tenant, n=n) for n in range(count)]


def broken_lines():
    return [report.broken and report.broken.entry_id for report in check_chains()]


def tamper(sql, *parameters):
    """Change the audit as somebody with the owner's rights would: switch the trigger off first."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # foreign keys that wait would forbid the next statement
        cursor.execute("ALTER TABLE audit_entry DISABLE TRIGGER audit_entry_append_only")
        cursor.execute(sql, parameters)
        cursor.execute("ALTER TABLE audit_entry ENABLE TRIGGER audit_entry_append_only")


def test_chains_of_tenants_and_platform_hold(tenant, capsys):
    write_lines(tenant)
    write_lines(None, 2)
    call_command("verify_audit")
    assert broken_lines() == [None, None]
    shown = capsys.readouterr().out
    assert "tenant acme: 5 lines" in shown
    assert "the platform: 2 lines" in shown


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit_entry SET actor = 'nobody' WHERE id = %s",
        "UPDATE audit_entry SET at = at + interval '1 microsecond' WHERE id = %s",
        """UPDATE audit_entry SET detail = '{"n": 7}' WHERE id = %s""",
        "UPDATE audit_entry SET tenant_id = NULL WHERE id = %s",
        "DELETE FROM audit_entry WHERE id = %s",
    ],
)
def test_verify_audit_names_the_first_line_that_does_not_fit(tenant, change, capsys):
    lines = write_lines(tenant)
    tamper(change, lines[2].pk)
    moved = "DELETE" in change or "tenant_id" in change
    with pytest.raises(CommandError, match="chains are broken"):
        call_command("verify_audit")
    assert f"line {lines[3 if moved else 2].pk}:" in capsys.readouterr().out


def test_a_line_put_between_is_found(tenant):
    lines = write_lines(tenant, 3)
    tamper("UPDATE audit_entry SET previous = %s WHERE id = %s", lines[0].previous, lines[1].pk)
    assert lines[1].pk in broken_lines()


@pytest.mark.parametrize("change", ["UPDATE audit_entry SET actor = 'nobody'", "DELETE FROM audit_entry"])
def test_the_owner_is_refused_by_the_trigger(tenant, change):
    write_lines(tenant, 1)
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(change)


@pytest.mark.parametrize(
    "change", ["UPDATE audit_entry SET actor = 'nobody'", "DELETE FROM audit_entry", "TRUNCATE audit_entry"]
)
def test_the_application_role_has_no_right_to_rewrite(tenant, application_role, change):
    write_lines(tenant, 1)
    with pytest.raises(DatabaseError, match="denied"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(change)


def test_details_come_back_as_they_went_in(tenant):
    detail = {
        "id": uuid4(), "at": datetime(2026, 2, 3, tzinfo=UTC), "raw": b"\x00\xff", "float": 1.50, "big": 2**80,
        "nul": "a\0b", "half": "\udcff", "deep": {"b": [1, None, True], "a": "é€"}, "long": "x" * 5000,
    }  # fmt: skip
    record("test", actor="a\0\udc80", object="o" * 500, tenant=tenant, **detail)
    assert broken_lines() == [None, None]
    with tenant_scope(tenant):
        entry = Entry.objects.get()
    assert entry.detail["raw"] == "00ff"
    assert entry.detail["nul"] == "a\\0b"
    assert len(entry.detail["long"]) == 2000


def test_a_scope_cannot_write_another_tenants_audit(tenant):
    with tenant_scope(uuid4()), pytest.raises(ScopeError):
        record("test", actor="x", tenant=tenant)


def test_a_line_stands_only_if_the_deed_does(tenant):
    with transaction.atomic():
        record("test", actor="x", tenant=tenant)
        transaction.set_rollback(True)
    with tenant_scope(tenant):
        assert not Entry.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_writers_at_once_make_one_chain():
    with without_tenant_scope("test data"):
        tenant = Tenant.objects.create(name="busy")
    gate = Barrier(4)

    def write():
        gate.wait(10)
        try:
            write_lines(tenant, 5)
        finally:
            connection.close()

    threads = [Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    reports = list(check_chains())
    assert [report.lines for report in reports] == [0, 20]
    assert all(report.broken is None for report in reports)
