"""The lease of a pack's row when the database goes away under it: it is given back as soon as that is possible."""

from __future__ import annotations

import pytest
from django.db import OperationalError, close_old_connections, connection

from backup_platform.catalog import leases
from backup_platform.catalog.leases import pack_lease, pack_leases
from backup_platform.catalog.models import Pack
from backup_platform.tenants.scope import tenant_scope
from tests.catalog.stage import Backup, contents, make_machine, make_vault

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def pack(transactional_db, strongroom_home):
    vault = make_vault("north", 7006)
    with tenant_scope(vault.tenant_id):
        Backup(make_machine(vault, "alpha")).run(contents(2))
        yield Pack.objects.get()


def hold_while_the_database_dies(lease) -> None:
    with lease as _, connection.cursor() as cursor:
        assert Pack.objects.get().lease_owner
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")


@pytest.mark.parametrize(
    "lease", [lambda pack: pack_lease(pack.pk), lambda pack: pack_leases([pack.pk])], ids=["one", "many"]
)
def test_a_lease_is_given_back_though_the_connection_broke(pack, lease):
    with pytest.raises(OperationalError):
        hold_while_the_database_dies(lease(pack))
    close_old_connections()
    found = Pack.objects.get()
    assert (found.lease_owner, found.lease_until) == ("", None)


def test_a_database_that_stays_away_is_not_waited_for_without_end(pack, monkeypatch):
    monkeypatch.setattr(leases, "WAIT_SECONDS", 0.2)
    away = OperationalError("away")

    def refuse() -> None:
        raise away

    with pytest.raises(OperationalError, match="away"):
        leases._give_back(refuse)
