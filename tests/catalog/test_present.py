"""The one query: what it answers, whom, and how fast."""

from __future__ import annotations

import os
import re
import time

import pytest
from django.db import connection

from backup_platform.catalog import present
from backup_platform.catalog.chunk_index import binary_cursor, vault_lock
from backup_platform.catalog.reading import PackReader
from backup_platform.tenants.scope import ScopeError, tenant_scope
from tests.catalog.stage import contents, digest, make_vault, run_jobs

FILL_SQL = """
    INSERT INTO catalog_chunk (vault, id, number, kind, pack, "offset", length, uploader, state)
    SELECT %s, sha256(n::text::bytea), n, 1, 1, n, 1000, gen_random_uuid(), 0 FROM generate_series(1, %s) n
"""


def test_an_id_is_present_from_its_arrival_through_deduplication(backup, vault):
    data = contents(3)
    ids = [digest(c) for c in data]
    stranger = os.urandom(32)
    assert present.missing_ids(vault.number, ids) == set(ids)
    backup.run(data)
    assert present.missing_ids(vault.number, [*ids, stranger]) == {stranger}
    run_jobs()
    assert present.missing_ids(vault.number, [*ids, stranger]) == {stranger}
    assert set(present.find_places(vault.number, ids)) == set(ids)


@pytest.mark.parametrize("state", [1, 2])
def test_condemned_and_damaged_ids_are_answered_missing(backup, vault, state):
    data = contents(2)
    backup.run(data)
    run_jobs()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE catalog_chunk SET state = %s WHERE vault = %s", [state, vault.number])
    ids = {digest(c) for c in data}
    assert present.missing_ids(vault.number, list(ids)) == ids
    assert present.find_places(vault.number, list(ids)) == {}


def test_nothing_is_asked_for_no_ids_and_too_many_are_refused(vault):
    assert present.missing_ids(vault.number, []) == set()
    with pytest.raises(ValueError, match="4096"):
        present.missing_ids(vault.number, [os.urandom(32)] * 4097)


def test_another_tenants_vault_cannot_be_asked(vault, strongroom_home):
    foreign = make_vault("south", 7002)
    for ask in (
        lambda: present.missing_ids(foreign.number, [bytes(32)]),
        lambda: present.find_places(foreign.number, [bytes(32)]),
        lambda: list(PackReader(foreign.number).read([bytes(32)])),
        lambda: vault_lock(foreign.number, shared=True).__enter__(),
    ):
        with pytest.raises(ScopeError):
            ask()


def test_equal_chunks_of_two_tenants_are_strangers(backup, vault, strongroom_home):
    data = contents(1)
    backup.run(data)
    run_jobs()
    # In a scope of its own, as a thread of the gateway for another tenant has it.
    import contextvars

    def ask() -> set[bytes]:
        foreign = make_vault("south", 7002)
        with tenant_scope(foreign.tenant_id):
            return present.missing_ids(foreign.number, [digest(data[0])])

    assert contextvars.Context().run(ask) == {digest(data[0])}


def test_without_any_scope_nothing_is_answered(db):
    with pytest.raises(ScopeError):
        present.missing_ids(7001, [bytes(32)])


@pytest.mark.parametrize("sql", [present.PRESENT_SQL, present.PLACES_SQL])
def test_the_query_reads_one_partition_by_its_index(vault, sql):
    with connection.cursor() as cursor:
        cursor.execute(FILL_SQL, [vault.number, 20_000])
        cursor.execute("ANALYZE catalog_chunk")
    with binary_cursor() as cursor:
        question = {"vault": vault.number, "ids": [os.urandom(32) for _ in range(1000)], "states": [0]}
        cursor.execute(f"EXPLAIN {sql}", question)
        plan = "\n".join(row[0] for row in cursor)
    assert len(set(re.findall(r"catalog_chunk_\d\d", plan))) == 1, plan
    assert "Seq Scan on catalog_chunk" not in plan


def test_a_thousand_ids_are_answered_within_twenty_milliseconds(vault):
    with connection.cursor() as cursor:
        cursor.execute(FILL_SQL, [vault.number, 100_000])
        cursor.execute("ANALYZE catalog_chunk")
        cursor.execute("SELECT id FROM catalog_chunk WHERE vault = %s AND number %% 200 = 0", [vault.number])
        ids = [bytes(row[0]) for row in cursor] + [os.urandom(32) for _ in range(500)]
    best = 1.0
    for _ in range(10):
        start = time.perf_counter()
        missing = present.missing_ids(vault.number, ids)
        best = min(best, time.perf_counter() - start)
    assert len(missing) == 500
    assert best < 0.020, f"{best * 1000:.1f} ms"
