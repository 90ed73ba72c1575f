"""Services by way of apprise, where that package is installed: sent for real, to a receiver on this host."""

from __future__ import annotations

import json

import pytest

from backup_platform.notifications import channels
from backup_platform.notifications.delivery import deliver_due
from backup_platform.notifications.models import Channel, Delivery
from backup_platform.notifications.services import raise_alert
from backup_platform.notifications.words import ChannelKind
from tests.notifications.conftest import make_channel, make_due

pytestmark = pytest.mark.django_db


@pytest.fixture
def address(receiver, settings) -> str:
    settings.STRONGROOM_APPRISE_SCHEMES = ["json", "discord"]
    return f"json://127.0.0.1:{receiver.server_address[1]}/note"


def test_a_service_that_the_operator_allowed_is_told(tenant, address, receiver):
    pytest.importorskip("apprise")
    make_channel(tenant, ChannelKind.APPRISE, address)
    raise_alert(tenant.pk, "failed", "machine:x", "error", "Backup of web-1 failed.")
    assert deliver_due().delivered == 1
    said = json.loads(receiver.hits[0].body)
    assert said["title"] == "[Strongroom] Error: Backup of web-1 failed. (acme)"


def test_several_addresses_in_one_are_not_several_services(tenant, address, receiver):
    """A list of addresses would lead past the services that are allowed."""
    pytest.importorskip("apprise")
    with pytest.raises(channels.ChannelRefused):
        make_channel(tenant, ChannelKind.APPRISE, f"discord://{'1' * 18}/{'a' * 68}, form://{address[7:]}")
    with pytest.raises(channels.ChannelRefused):
        make_channel(tenant, ChannelKind.APPRISE, "discord://nonsense")


def test_a_service_that_is_no_longer_allowed_is_told_nothing(tenant, address, receiver, settings):
    pytest.importorskip("apprise")
    make_channel(tenant, ChannelKind.APPRISE, address)
    settings.STRONGROOM_APPRISE_SCHEMES = ["discord"]
    raise_alert(tenant.pk, "failed", "machine:x", "error", "It failed.")
    deliver_due()
    assert receiver.hits == []
    assert "allows only these services" in Delivery.objects.get().last_error


def test_without_the_package_the_log_says_what_to_install(tenant, address, receiver, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "apprise", None)  # how Python says that there is none
    make_channel(tenant, ChannelKind.APPRISE, address)
    raise_alert(tenant.pk, "failed", "machine:x", "error", "It failed.")
    deliver_due()
    assert "pip install apprise" in Delivery.objects.get().last_error
    make_due()
    assert Channel.objects.get().settings == {"shown": "json://…"}
