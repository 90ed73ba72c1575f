"""What a tenant stores is counted by the database itself: right at once, whoever changes packs, and in whatever way."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase as PropertyCase

from backup_platform.catalog import arrivals
from backup_platform.catalog.models import Copy, Pack, PackPlace, PackState, Session
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from backup_platform.tenants.stored import recount, settle, stored_of, stored_under_quotas
from tests.tenants.counted import add_pack, make_vault, set_quota

HERE, AWAY, GONE, LOST = PackPlace.TARGET, PackPlace.REMOTE, PackPlace.GONE, PackPlace.LOST


@pytest.fixture
def vault(db):
    return make_vault("north")


def stored(vault) -> int:
    return stored_of(vault.tenant_id).bytes


def move(pack, **changes) -> None:
    with without_tenant_scope("test"):
        Pack.objects.filter(pk=pack.pk).update(**changes)


def test_a_pack_counts_once_wherever_it_is_until_its_files_are_removed(vault):
    pack = add_pack(vault, 1000, PackPlace.SPOOL)
    assert stored(vault) == 1000
    for place in (HERE, AWAY, HERE):
        move(pack, place=place)
        assert stored(vault) == 1000, place
    move(pack, place=GONE)
    assert stored(vault) == 0


def test_copies_at_targets_count_nothing_more(vault, s3_target_row):
    pack = add_pack(vault, 1000)
    with without_tenant_scope("test"):
        Copy.objects.create(tenant_id=vault.tenant_id, pack=pack, target=s3_target_row(), key="k", state="good")
    assert stored(vault) == 1000


def test_what_is_lost_counts_nothing_until_it_is_healed(vault):
    pack = add_pack(vault, 1000)
    move(pack, place=LOST)
    assert stored(vault) == 0
    move(pack, place=HERE)
    assert stored(vault) == 1000


@pytest.mark.usefixtures("application_role")
def test_an_open_pack_counts_from_its_sealing_and_a_discarded_one_never(vault):
    from tests.notifications.conftest import make_machine

    with without_tenant_scope("test"):
        machine = make_machine(vault.tenant, "web")
        session = Session.objects.create(
            tenant_id=vault.tenant_id, vault=machine.vault, machine=machine, generation=1, gateway="g",
            lease_until=machine.enrolled_at,
        )  # fmt: skip
        packs = [arrivals.open_pack(session.pk, session.fence, uid=uuid4(), spool="s") for _ in range(2)]
        assert stored(vault) == 0
        arrivals.seal_pack(packs[0].pk, bytes(32), 4321, 3)
        arrivals.seal_pack(packs[0].pk, bytes(32), 4321, 3)
        arrivals.discard_pack(packs[1].pk)
    assert stored(vault) == 4321


def test_deleted_rows_and_sizes_that_change_are_followed(vault):
    first, second = add_pack(vault, 10), add_pack(vault, 20)
    move(second, bytes=50)
    with without_tenant_scope("test"):
        Pack.objects.filter(pk=first.pk).delete()
    assert stored(vault) == 50


def test_each_tenant_has_a_count_of_its_own(vault):
    other = make_vault("south")
    add_pack(vault, 10)
    add_pack(other, 700)
    settle()
    add_pack(other, 7)
    assert (stored(vault), stored(other)) == (10, 707)
    set_quota(other.tenant_id, 5000)
    assert [(one.tenant_id, one.bytes, one.quota) for one in stored_under_quotas()] == [(other.tenant_id, 707, 5000)]


def test_adding_up_changes_nothing_but_the_number_of_rows(vault):
    for size in (1, 2, 3):
        add_pack(vault, size)
    for _ in range(2):
        settle()
        assert stored(vault) == 6
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM tenants_stored_change")
            assert cursor.fetchone() == (0,)


def test_a_wrong_count_is_put_right_by_counting_anew(vault):
    add_pack(vault, 100)
    settle()
    add_pack(vault, 11)
    assert recount() == 0
    with connection.cursor() as cursor:
        cursor.execute("UPDATE tenants_stored SET bytes = 5000")
    assert recount() == 1
    assert (recount(), stored(vault)) == (0, 111)


def test_a_tenant_without_packs_stores_nothing(vault):
    assert (stored(vault), stored_of(uuid4()).bytes) == (0, 0)
    assert recount() == 0


@pytest.mark.django_db(transaction=True)
def test_emptying_the_table_of_packs_empties_the_count():
    vault = make_vault("north")
    add_pack(vault, 100)
    settle()
    add_pack(vault, 1)
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE catalog_pack CASCADE")
    assert stored(vault) == 0


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "place", "size", "delete", "settle", "recount"]),
        st.integers(0, 5),
        st.sampled_from(PackPlace.values),
        st.integers(0, 10_000),
    ),
    max_size=25,
)


class WhateverHappens(PropertyCase):
    """Any sequence of changes, with adding up and counting anew in between."""

    @given(STEPS)
    def test_the_count_is_the_sum_of_the_packs_that_are_there(self, steps):
        vault = make_vault("north")
        with tenant_scope(vault.tenant_id):
            for act, which, place, size in steps:
                packs = list(Pack.objects.order_by("pk"))
                pack = packs[which % len(packs)] if packs else None
                if act == "add":
                    add_pack(vault, size, place)
                elif act == "settle":
                    settle()
                elif act == "recount":
                    assert recount() == 0
                elif pack is not None:
                    change(pack, act, place, size)
            there = Pack.objects.exclude(place__in=[GONE, LOST])
            assert stored(vault) == sum(there.values_list("bytes", flat=True))


def change(pack, act, place, size) -> None:
    if act == "delete":
        Pack.objects.filter(pk=pack.pk).delete()
    else:
        Pack.objects.filter(pk=pack.pk).update(**({"place": place} if act == "place" else {"bytes": size}))


def test_pack_states_mean_nothing_to_the_count(vault):
    pack = add_pack(vault, 9)
    for state in PackState.values:
        move(pack, state=state)
        assert stored(vault) == 9
