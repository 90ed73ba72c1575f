"""Quotas that come to their end: a warning once, an error when they are used up, over when there is room."""

from __future__ import annotations

from uuid import uuid4

import pytest

from backup_platform.catalog.models import PackPlace
from backup_platform.notifications import watching
from backup_platform.notifications.models import Alert
from backup_platform.notifications.words import AlertKind, Level
from backup_platform.vaults.models import Vault
from tests.tenants.counted import add_pack, set_quota

pytestmark = pytest.mark.django_db


@pytest.fixture
def vault(tenant) -> Vault:
    set_quota(tenant.pk, 1000)
    return Vault.objects.create(id=uuid4(), number=77, tenant=tenant, name="main", record=b"", record_number=1,
                                signing_key_hash=bytes(32))  # fmt: skip


def quota_alerts(**which) -> list[Alert]:
    return list(Alert.objects.filter(kind=AlertKind.QUOTA, **which))


def test_nearly_full_is_a_warning_once(vault, tenant):
    add_pack(vault, 899)
    watching.watch()
    assert not quota_alerts()
    add_pack(vault, 1)
    watching.watch()
    watching.watch()
    (alert,) = quota_alerts()
    assert (alert.tenant_id, alert.level, alert.count) == (tenant.pk, Level.WARNING, 1)
    assert alert.text == "90 % of the quota of stored data is used: 900 B of 1000 B."
    assert "no new backup begins" in alert.advice


def test_used_up_makes_the_same_alert_an_error_which_is_told_again(vault):
    add_pack(vault, 950)
    watching.watch()
    Alert.objects.update(pending=False, announced_level=Level.WARNING)
    add_pack(vault, 49)
    watching.watch()
    (alert,) = quota_alerts()
    assert (alert.level, alert.pending, "99 %" in alert.text) == (Level.WARNING, False, True), "no news to anybody"
    add_pack(vault, 1)
    watching.watch()
    (alert,) = quota_alerts()
    assert (alert.level, alert.pending) == (Level.ERROR, True)
    assert "is used up: 1000 B of 1000 B" in alert.text
    assert "restoring works" in alert.advice


def test_it_is_over_when_reclaim_made_room_when_the_quota_grew_and_when_there_is_none(vault, tenant):
    pack = add_pack(vault, 2000)

    def over(end) -> None:
        watching.watch()
        assert quota_alerts(resolved_at=None)
        end()
        watching.watch()
        assert not quota_alerts(resolved_at=None)
        type(pack).objects.update(place=PackPlace.TARGET)
        set_quota(tenant.pk, 1000)

    over(lambda: type(pack).objects.update(place=PackPlace.GONE))
    over(lambda: set_quota(tenant.pk, 10_000))
    over(lambda: set_quota(tenant.pk, None))
    assert {alert.resolution for alert in quota_alerts()} == {"There is room again."}


def test_a_tenant_without_a_quota_hears_nothing(vault, other):
    add_pack(vault, 10)
    watching.watch()
    assert not quota_alerts()
