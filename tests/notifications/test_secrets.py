"""Secrets of channels: nowhere in clear, and useless on another row or under another key."""

from __future__ import annotations

import logging
from uuid import uuid4

import pytest
from django.db import connection

from backup_platform.notifications import channels
from backup_platform.notifications.delivery import deliver_due
from backup_platform.notifications.models import Channel, Delivery
from backup_platform.notifications.secret_box import SecretUnreadable, open_sealed, seal
from backup_platform.notifications.sending import route_of
from backup_platform.notifications.services import raise_alert
from backup_platform.notifications.words import ChannelKind
from tests.notifications.conftest import make_channel, make_due
from tests.notifications.receivers import Behaviour

pytestmark = pytest.mark.django_db
PATH = "very-secret-path"


def whole_database() -> bytes:
    """Every column of every table of this app and of the audit, as text."""
    tables = [name for name in connection.introspection.table_names() if name.startswith(("notifications_", "audit_"))]
    with connection.cursor() as cursor:
        rows = []
        for table in tables:
            cursor.execute(f'SELECT * FROM "{table}"')  # noqa: S608 - names from the database itself
            rows += [bytes(value) if isinstance(value, memoryview | bytes) else str(value).encode()
                     for row in cursor for value in row]  # fmt: skip
    return b"\n".join(rows)


@pytest.mark.defence
def test_no_secret_is_in_the_database_in_clear(tenant, hook, receiver):
    key = open_sealed(hook.pk, bytes(hook.sealed))["key"]
    channels.check_channel(hook, actor="ada")
    fresh = channels.rotate_key(hook, actor="ada")
    receiver.behaviour = Behaviour(500)
    raise_alert(tenant.pk, "failed", "machine:x", "error", "It failed.")
    deliver_due()
    stored = whole_database()
    assert b"It failed." in stored
    for secret in (PATH, key, fresh, key.removeprefix("whsec_")):
        assert secret.encode() not in stored


@pytest.mark.defence
def test_no_secret_is_logged_whatever_goes_wrong(tenant, hook, receiver, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    raise_alert(tenant.pk, "failed", "machine:x", "error", "It failed.")
    receiver.behaviour = Behaviour(500)
    deliver_due()
    key = open_sealed(hook.pk, bytes(hook.sealed))["key"]

    def defect(route, message):
        raise RuntimeError(f"{route.secrets}")

    monkeypatch.setattr("backup_platform.notifications.sending.send_hook", defect)
    make_due()
    deliver_due()
    assert "A channel could not be used." in caplog.text
    said = caplog.text + "".join(str(vars(record)) for record in caplog.records) + Delivery.objects.get().last_error
    assert PATH not in said
    assert key not in said
    assert PATH not in repr(route_of(hook))


@pytest.mark.defence
def test_a_sealed_value_opens_only_on_its_own_row_and_unchanged():
    mine, other = uuid4(), uuid4()
    sealed = seal(mine, {"url": "x"})
    assert open_sealed(mine, sealed) == {"url": "x"}
    for owner, value in ((other, sealed), (mine, sealed[:-1] + bytes([sealed[-1] ^ 1])), (mine, sealed[:20]),
                         (mine, b"\x02" + sealed[1:])):  # fmt: skip
        with pytest.raises(SecretUnreadable):
            open_sealed(owner, value)


def test_two_sealings_of_one_value_differ():
    owner = uuid4()
    assert seal(owner, {"url": "x"}) != seal(owner, {"url": "x"})


def test_after_a_change_of_the_instances_secret_the_former_one_opens_and_without_it_the_log_says_what_to_do(
    tenant, hook, receiver, settings
):
    former = settings.SECRET_KEY
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another-secret-of-the-instance", [former]
    raise_alert(tenant.pk, "failed", "machine:x", "error", "It failed.")
    assert deliver_due().delivered == 1
    settings.SECRET_KEY_FALLBACKS = []
    raise_alert(tenant.pk, "failed", "machine:y", "error", "It failed too.")
    raise_alert(tenant.pk, "failed", "machine:z", "error", "It failed three times.")
    deliver_due()
    fault = Delivery.objects.exclude(last_error="").get().last_error
    assert "Enter it again" in fault
    channels.set_way(hook, receiver.url())
    channels.save_channel(hook, actor="ada")
    make_due()
    assert deliver_due().delivered == 2


def test_what_may_be_shown_of_a_channel_is_its_host(tenant, hook):
    assert Channel.objects.get().settings == {"shown": "http://127.0.0.1/…"}
    channels.set_way(hook, "")
    assert open_sealed(hook.pk, bytes(hook.sealed))["url"].endswith(PATH)


@pytest.mark.parametrize("text", ["", "nobody", "a@b, c@d.example", "\n".join(f"a{n}@example.org" for n in range(21))])
def test_what_is_no_list_of_addresses_is_refused(tenant, text):
    with pytest.raises(channels.ChannelRefused):
        make_channel(tenant, ChannelKind.EMAIL, text)


@pytest.mark.parametrize("url", ["json://127.0.0.1/", "ntfy://localhost/x", "not an address", "discord://", "file:///x",
                                 "https://discord.com/api/webhooks/1/abc"])  # fmt: skip
def test_services_that_the_platform_does_not_allow_are_refused(tenant, url):
    with pytest.raises(channels.ChannelRefused):
        make_channel(tenant, ChannelKind.APPRISE, url)
