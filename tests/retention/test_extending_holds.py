"""The end of a hold moves further away without a gap: in the catalogue, in the store's records, through every door."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from backup_platform.audit.models import Entry
from backup_platform.catalog import stores
from backup_platform.retention import lifecycle
from backup_platform.retention.ending import end_holds, mark_covered
from backup_platform.retention.errors import RetentionRefused
from backup_platform.retention.holding import cases_of, in_force
from backup_platform.retention.holds import release_hold, set_hold
from backup_platform.retention.holds_extending import extend_hold, read_end
from backup_platform.retention.models import Hold
from backup_platform.retention.services import set_rules
from backup_platform.tenants.access import actor_of
from backup_platform.tenants.errors import Forbidden, OutOfReach
from backup_platform.tenants.models import Role
from backup_platform.tenants.queries import memberships_of
from backup_platform.tenants.scope import tenant_scope
from protocol.stored.lifecycle import LifecycleEvent, decode_lifecycle

DAY = timedelta(days=1)


@pytest.fixture
def soon() -> datetime:
    return timezone.now().replace(microsecond=0) + 5 * DAY


@pytest.fixture
def hold(ours, machine, soon) -> Hold:
    return set_hold(ours.tenant, "case 7", "a lawsuit", by="test", scope="machine", about=machine, until=soon)


@pytest.fixture
def ada(ours, sign_in):
    return sign_in(ours.member("ada"))


def actor(place, name, role=Role.ADMIN):
    user = place.member(name, role)
    return actor_of(user, memberships_of(user), None, None)


def holds_of(place) -> list[Hold]:
    with tenant_scope(place.tenant):
        return list(in_force(place.tenant.pk, timezone.now()))


@pytest.mark.parametrize("later", [DAY, None])
def test_an_extended_hold_covers_the_same_until_later(ours, machine, hold, soon, later):
    snapshot = ours.snapshot(machine)
    until = soon + later if later else None
    extend_hold(hold, until, by=actor(ours, "ada"))
    (following,) = holds_of(ours)
    kept = ("case", "reason", "scope", "machine_id", "about", "received_from", "received_until", "needs_second")
    assert [getattr(following, name) for name in kept] == [getattr(hold, name) for name in kept]
    assert (following.until, following.set_by) == (until, "user ada@ours")
    assert cases_of(snapshot, [following]) == ("case 7",)
    with tenant_scope(ours.tenant):
        assert Hold.objects.get(pk=hold.pk).released_because == f"Extended: hold {following.pk} follows it."
        end_holds(ours.tenant.pk, soon + timedelta(hours=1))
    assert holds_of(ours) == [following]
    assert ours.verbs() == ["hold.set", "hold.released", "hold.set"]
    with tenant_scope(ours.tenant):
        assert Entry.objects.filter(verb="hold.set").order_by("-id")[0].detail["extends"] == str(hold.pk)


@pytest.mark.defence
def test_an_extension_ends_later_and_nothing_else(ours, hold, soon):
    """To let go earlier is a release: where two persons must agree, one alone must find no way around."""
    ada = actor(ours, "ada")
    for until in (soon, soon - DAY, timezone.now() - DAY):
        with pytest.raises(RetentionRefused, match="an extension ends later"):
            extend_hold(hold, until, by=ada)
    assert holds_of(ours) == [hold]


def test_what_is_over_without_an_end_or_about_to_be_released_is_not_extended(ours, hold, soon):
    endless = set_hold(ours.tenant, "case 8", "why", by="test")
    with pytest.raises(RetentionRefused, match="It has no end"):
        extend_hold(endless, soon, by="test")
    release_hold(endless, by="test", because="over")
    with pytest.raises(RetentionRefused, match="not in force any more"):
        extend_hold(endless, soon, by="test")
    with tenant_scope(ours.tenant):
        Hold.objects.filter(pk=hold.pk).update(until=timezone.now() - DAY)
    with pytest.raises(RetentionRefused, match="set a new one"):
        extend_hold(hold, soon, by="test")


def test_a_release_that_was_asked_for_is_decided_first(ours, hold, soon):
    with tenant_scope(ours.tenant):
        Hold.objects.filter(pk=hold.pk).update(needs_second=True)
    release_hold(hold, by=actor(ours, "ada"), because="settled")
    with pytest.raises(RetentionRefused, match="Leave it in force first"):
        extend_hold(hold, soon + DAY, by=actor(ours, "bob"))


@pytest.mark.defence
def test_a_hold_that_takes_two_persons_still_does_after_an_extension(ours, hold, soon):
    set_rules(ours.tenant, by="test", release_needs_second=True)
    first = set_hold(ours.tenant, "case 9", "why", by="test", until=soon)
    set_rules(ours.tenant, by="test", release_needs_second=False)
    following = extend_hold(first, soon + DAY, by="test")
    assert release_hold(following, by=actor(ours, "ada"), because="settled") is False


def test_who_may_not_set_holds_extends_none_and_another_tenants_is_missing(ours, theirs, hold, soon):
    with pytest.raises(Forbidden):
        extend_hold(hold, soon + DAY, by=actor(ours, "vic", Role.VIEWER))
    with pytest.raises(OutOfReach):
        extend_hold(hold, soon + DAY, by=actor(theirs, "eve"))
    assert holds_of(ours) == [hold]


@pytest.mark.defence
def test_at_no_point_do_the_stores_records_say_that_nothing_holds_it(ours, machine, hold, soon):
    """A rebuild reads them in order: the later hold is set before the first one is released."""
    snapshot = ours.snapshot(machine)
    ours.put_received(snapshot)
    with tenant_scope(ours.tenant):
        mark_covered(ours.tenant.pk, timezone.now())
        lifecycle.write_due(ours.tenant.pk)
        following = extend_hold(hold, soon + DAY, by="test")
        mark_covered(ours.tenant.pk, timezone.now())
        lifecycle.write_due(ours.tenant.pk)
    keys = (ours.tenant.pk, snapshot.vault_id, snapshot.pk)
    found = [decode_lifecycle(stores.local_target().get(stores.lifecycle_key(*keys, n))) for n in (2, 3, 4)]
    events = [(one.event, one.detail["hold"]) for one in found]
    assert events == [
        (LifecycleEvent.HOLD_SET, str(hold.pk)),
        (LifecycleEvent.HOLD_SET, str(following.pk)),
        (LifecycleEvent.HOLD_RELEASED, str(hold.pk)),
    ]
    assert datetime.fromisoformat(found[1].detail["until"]) == soon + DAY


def test_an_extension_needs_no_room_of_its_own(ours, hold, soon, monkeypatch):
    from backup_platform.retention import holds

    monkeypatch.setattr(holds, "MOST_IN_FORCE", 1)
    extend_hold(hold, soon + DAY, by="test")
    assert len(holds_of(ours)) == 1


def test_the_page_asks_until_when_and_says_what_cannot_be(ours, hold, soon, ada):
    address = reverse("admin:retention_hold_extend", args=[hold.pk])
    shown = ada.get(address).content.decode()
    assert "stays covered without a gap" in shown
    assert f"{soon:%Y-%m-%d %H:%M}" in shown
    assert holds_of(ours) == [hold], "a GET only asks"
    for written, said in (("tomorrow", "Write the new end as YYYY-MM-DD"), ("2001-01-01", "an extension ends later")):
        assert said in ada.post(address, {"reason": written}, follow=True).content.decode()
    beyond = ada.post(address, {"reason": "9999-12-31 23:59-15:00"}, follow=True)
    assert "Write the new end as YYYY-MM-DD" in beyond.content.decode(), "a row of the year 10000 nobody can read again"
    answer = ada.post(address, {"reason": f"{soon + 9 * DAY:%Y-%m-%d}"}, follow=True)
    assert "It stays in force until" in answer.content.decode()
    (following,) = holds_of(ours)
    assert following.until.date() == (soon + 9 * DAY).date()


def test_the_api_extends_and_foreign_holds_are_missing(ours, theirs, hold, soon, ada, sign_in):
    address, body = f"/api/v1/holds/{hold.pk}/extend/", {"until": (soon + DAY).isoformat()}
    viewer, stranger = sign_in(ours.member("vic", Role.VIEWER)), sign_in(theirs.member("eve"))
    assert viewer.post(address, body, content_type="application/json").status_code == 403
    assert stranger.post(address, body, content_type="application/json").status_code == 404
    for wrong in ({}, {"until": "never"}, {"until": (soon - DAY).isoformat()}):
        assert ada.post(address, wrong, content_type="application/json").status_code == 400
    made = ada.post(address, body, content_type="application/json")
    assert made.status_code == 201, made.content
    assert made.json()["id"] == str(holds_of(ours)[0].pk)
    assert ada.post(address, {"until": None}, content_type="application/json").status_code == 400, "it was followed"


@pytest.mark.parametrize(("written", "read"), [
    ("", None), ("  ", None), ("2030-02-01", datetime(2030, 2, 1, tzinfo=UTC)),
    ("2030-02-01 12:30", datetime(2030, 2, 1, 12, 30, tzinfo=UTC)),
    ("2030-02-01T12:30+01:00", datetime(2030, 2, 1, 11, 30, tzinfo=UTC)),
    ("2030-02-01 00:00-20:00", datetime(2030, 2, 1, 20, 0, tzinfo=UTC)),
])  # fmt: skip
def test_ends_are_read_in_utc(written, read):
    found = read_end(written)
    assert found == read
    assert found is None or found.tzinfo is UTC, "PostgreSQL knows no zone so far away"


@pytest.mark.parametrize("written", ["soon", "2030-02-30", "2030-13-01 10:00", "1", "2030-02-01 25:00",
                                     "9999-12-31 23:59-15:00", "0001-01-01 00:00+15:00"])  # fmt: skip
def test_what_is_no_end_is_said(written):
    with pytest.raises(RetentionRefused, match="YYYY-MM-DD"):
        read_end(written)
