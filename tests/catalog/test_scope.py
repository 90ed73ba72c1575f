"""The tenant's wall: no service of the catalogue works without a scope, none reaches into another tenant."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from uuid import UUID

import pytest
from django.core.exceptions import ObjectDoesNotExist

from backup_platform.catalog import arrivals, completion, damage, deduplication, placing, queries, sessions
from backup_platform.catalog import verification as verifying
from backup_platform.catalog.commit import commit_snapshot
from backup_platform.catalog.errors import Fenced
from backup_platform.catalog.models import Pack, Session, Snapshot
from backup_platform.catalog.reading import PackReader
from backup_platform.tenants.scope import ScopeError, tenant_scope
from tests.catalog.stage import CHUNK, Backup, contents, make_machine, make_vault, run_jobs


@pytest.fixture
def calls(backup, machine, vault) -> dict[str, Callable[[], object]]:
    committed = backup.run(contents(1))
    begun = backup.begin()
    pack = backup.send_records([(CHUNK, b"one")], seal=False)
    proposed = backup.propose(contents(1))
    row = arrivals.Arrival(1, b"i" * 32, 109, 5)
    return {
        "begin": lambda: sessions.begin_session(machine, "spool-1"),
        "renew": lambda: sessions.renew_session(begun.session, begun.fence),
        "release": lambda: sessions.release_session(begun.session, begun.fence),
        "end": lambda: sessions.end_session(begun.session, begun.fence),
        "open pack": lambda: arrivals.open_pack(begun.session, begun.fence, uid=UUID(int=1), spool="spool-1"),
        "arrive": lambda: arrivals.record_arrivals(begun.session, begun.fence, pack.pk, [row]),
        "rows": lambda: arrivals.rows_of_pack(pack.pk),
        "seal": lambda: arrivals.seal_pack(pack.pk, bytes(32), 1, 1),
        "discard": lambda: arrivals.discard_pack(pack.pk),
        "loss": lambda: arrivals.report_loss(pack.pk, [b"i" * 32]),
        "commit": lambda: commit_snapshot(
            machine, begun.session, begun.fence, proposed.statement, b"", [], proposed.blocks, {}
        ),
        "verify": lambda: verifying.verify_pack(pack.pk),
        "deduplicate": lambda: deduplication.deduplicate_pack(pack.pk),
        "place": lambda: placing.place_pack(pack.pk),
        "complete": lambda: completion.complete_snapshot(committed.snapshot),
        "damage": lambda: damage.report_damage(Pack.objects.get(pk=pack.pk), [], "x"),
        "read": lambda: list(PackReader(vault.number).read([bytes(32)])),
        "list": lambda: queries.list_snapshots(machine),
        "states": lambda: queries.snapshot_states(machine, [committed.snapshot]),
    }


def state_of_the_world() -> list[object]:
    rows = [list(model.objects.order_by("pk").values()) for model in (Session, Pack, Snapshot)]
    return [*rows, [arrivals.rows_of_pack(pack.pk) for pack in Pack.objects.all()]]


def test_without_a_scope_every_service_refuses_and_changes_nothing(calls):
    before = state_of_the_world()
    for call in calls.values():
        with pytest.raises(ScopeError):
            contextvars.Context().run(call)
    assert state_of_the_world() == before


def test_in_another_tenants_scope_nothing_is_found_and_nothing_changes(calls, strongroom_home):
    before = state_of_the_world()
    harmless = (None, False, [], {}, ([], False))

    def as_stranger(call: Callable[[], object]) -> object:
        with tenant_scope(stranger.tenant_id):
            return call()

    stranger = contextvars.Context().run(make_vault, "south", 7777)
    for name, call in calls.items():
        try:
            answer = contextvars.Context().run(as_stranger, call)
        except (ScopeError, Fenced, ObjectDoesNotExist):
            answer = None
        assert answer in (*harmless, completion.Outcome.NOTHING), name
    assert state_of_the_world() == before


def test_equal_content_of_two_tenants_is_stored_twice(backup, strongroom_home):
    data = contents(3)
    backup.run(data)

    def stranger() -> tuple[int, str]:
        vault = make_vault("south", 7778)
        with tenant_scope(vault.tenant_id):
            other = Backup(make_machine(vault, "alpha"))
            other.begin()
            pack = other.send(data)
            answer = other.propose(data).send(other.machine, other.begun)
            run_jobs()
            return pack.records, Snapshot.objects.get(pk=answer.snapshot).state

    assert contextvars.Context().run(stranger) == (4, "verified")
