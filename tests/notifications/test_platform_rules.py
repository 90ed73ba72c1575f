"""Rules about the platform itself: a pause of reclaim that somebody forgot. (The database: tests/platform.)"""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from backup_platform.notifications import watching
from backup_platform.notifications.models import Alert
from backup_platform.notifications.words import AlertKind, Level
from backup_platform.upkeep.models import ReclaimPause
from backup_platform.upkeep.services import pause_reclaim, resume_reclaim

pytestmark = pytest.mark.django_db


def told() -> list[Alert]:
    return list(Alert.objects.filter(kind=AlertKind.RECLAIM, resolved_at=None).order_by("opened_at"))


def age(**days: int) -> None:
    ReclaimPause.objects.update(since=timezone.now() - timedelta(**days))


@pytest.mark.defence
def test_a_pause_that_lasts_for_more_than_a_week_is_told_to_the_tenant_until_it_ends(tenant, other):
    pause_reclaim(tenant.pk, by="user ada", reason="The auditors look.", staff=False)
    age(days=6)
    watching.watch()
    assert told() == []
    age(days=8)
    watching.watch()
    watching.watch()
    assert len(told()) == 1
    (alert,) = told()
    assert (alert.tenant_id, alert.level) == (tenant.pk, Level.WARNING)
    assert alert.text.startswith("Reclaim is paused here since ")
    assert alert.text.endswith(", by user ada: The auditors look.")
    assert "Resume" in alert.advice
    resume_reclaim(tenant.pk, by="user ada", staff=False)
    watching.watch()
    assert told() == []
    assert "not paused any more" in Alert.objects.get(pk=alert.pk).resolution


def test_a_pause_of_the_platforms_people_is_told_to_them_and_not_to_the_tenant(tenant, other):
    pause_reclaim(None, by="user boss")
    pause_reclaim(other.pk, by="user boss", reason="A disk is looked at")
    age(days=8)
    watching.watch()
    assert [alert.tenant_id for alert in told()] == [None, None]
    texts = " ".join(sorted(alert.text for alert in told()))
    assert "everywhere" in texts
    assert "nobody wrote down why" in texts
    assert "for umbrella" in texts
    assert "A disk is looked at." in texts
    resume_reclaim(other.pk, by="user boss")
    watching.watch()
    assert len(told()) == 1


def test_another_alert_about_reclaim_is_left_alone(tenant):
    from backup_platform.notifications.services import raise_alert

    raise_alert(tenant.pk, AlertKind.RECLAIM, "vault:1", "error", "A round has stopped.")
    watching.watch()
    assert [alert.subject for alert in told()] == ["vault:1"]
