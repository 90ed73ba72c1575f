"""A webhook cannot be led into the house: a table of attacks, and what may be reached."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import json
import socket
import time

import pytest

from backup_platform import safe_addresses
from backup_platform.notifications import channels, safe_http, webhook
from backup_platform.notifications.delivery import deliver_due
from backup_platform.notifications.models import Channel, Delivery
from backup_platform.notifications.secret_box import open_sealed
from backup_platform.notifications.services import raise_alert
from backup_platform.notifications.words import ChannelKind
from tests.notifications.conftest import make_channel
from tests.notifications.receivers import Behaviour

INSIDE = [
    "127.0.0.1", "127.8.9.10", "10.0.0.1", "172.16.5.5", "192.168.1.1", "169.254.169.254", "169.254.1.1", "100.64.0.1",
    "100.100.100.200", "168.63.129.16", "192.0.0.192", "0.0.0.0", "255.255.255.255", "224.0.0.1", "240.0.0.1",  # noqa: S104
    "198.18.0.1", "::", "::1", "fc00::1", "fd00:ec2::254", "fe80::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
    "::ffff:169.254.169.254", "::127.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b:1::a00:1", "2001:0:7f00:1::",
    "2001:db8::1", "fec0::2", "4000::1", "5f00::1",
]  # fmt: skip
OUTSIDE = ["1.1.1.1", "93.184.215.14", "2606:4700:4700::1111", "::ffff:1.1.1.1"]


@pytest.mark.defence
@pytest.mark.parametrize("text", INSIDE)
def test_addresses_of_the_inside_are_refused(text):
    with pytest.raises(safe_addresses.AddressRefused):
        safe_addresses.check_address(ipaddress.ip_address(text), [])


@pytest.mark.parametrize("text", OUTSIDE)
def test_public_addresses_are_allowed(text):
    assert safe_addresses.check_address(ipaddress.ip_address(text), []) is False


@pytest.mark.defence
@pytest.mark.parametrize("text", [
    "169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254", "168.63.129.16", "169.254.170.23", "fd00:ec2::23",
    "fd20:ce::254",
])  # fmt: skip
def test_a_clouds_own_service_stays_closed_in_networks_that_the_operator_allowed(text):
    everything = safe_addresses.networks(["0.0.0.0/0", "::/0"])
    with pytest.raises(safe_addresses.AddressRefused, match="never"):
        safe_addresses.check_address(ipaddress.ip_address(text), everything)


@pytest.mark.defence
@pytest.mark.parametrize("text", [
    "64:ff9b::a9fe:a9fe", "64:ff9b:1:a9fe:a9:fe00::", "2002:a9fe:a9fe::1", "::169.254.169.254",
    "::ffff:0:169.254.169.254",
])  # fmt: skip
def test_no_address_that_carries_anothers_leads_to_a_clouds_own_service(text):
    everything = safe_addresses.networks(["0.0.0.0/0", "::/0"])
    with pytest.raises(safe_addresses.AddressRefused, match="never"):
        safe_addresses.check_address(ipaddress.ip_address(text), everything)


def test_translated_addresses_are_reached_where_the_operator_allows_them():
    everything = safe_addresses.networks(["0.0.0.0/0", "::/0"])
    assert safe_addresses.check_address(ipaddress.ip_address("64:ff9b::808:808"), everything) is True


def test_an_allowed_network_opens_itself_and_no_other():
    allowed = safe_addresses.networks(["10.1.0.0/16"])
    assert safe_addresses.check_address(ipaddress.ip_address("10.1.2.3"), allowed) is True
    with pytest.raises(safe_addresses.AddressRefused):
        safe_addresses.check_address(ipaddress.ip_address("10.2.2.3"), allowed)


@pytest.mark.defence
@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f000001", "017700000001", "127.1", "0", "localhost",
                                  "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "LOCALHOST"])  # fmt: skip
def test_no_spelling_of_this_host_is_reached(receiver, host):
    port = receiver.server_address[1]
    answer = safe_http.post(f"https://{host}:{port}/", b"{}", {}, [])
    assert (answer.status, answer.refused) == (None, True)
    assert receiver.hits == []


@pytest.mark.parametrize(
    "url",
    ["http://example.org/", "ftp://example.org/", "file:///etc/passwd", "https://", "https:///x", "//example.org",
     "https://user:pw@example.org/", "https://user@example.org/", "https://exa mple.org/", "https://example.org:99999/",
     "https://example.org:0/", "https://example.org/\r\nHost: x", "https://example.org\\@127.0.0.1/", "gopher://x",
     "https://example.org/" + "a" * 3000, "https://[::1", "https://bücher.example/"],
)  # fmt: skip
def test_addresses_that_are_none_are_refused_with_a_sentence(url):
    with pytest.raises(safe_http.UrlRefused) as refusal:
        safe_http.check_url(url)
    assert str(refusal.value).endswith(".")
    assert "example.org/" not in str(refusal.value)


def answering(monkeypatch, *answers: list[str]) -> list[str]:
    """A name server under the test's control: each look-up gets the next answer. Returns what was asked."""
    asked: list[str] = []

    def getaddrinfo(host, port, *_, **__):
        found = answers[min(len(asked), len(answers) - 1)]
        asked.append(host)
        families = {4: socket.AF_INET, 6: socket.AF_INET6}
        return [(families[ipaddress.ip_address(a).version], socket.SOCK_STREAM, 6, "", (a, port)) for a in found]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


@pytest.mark.defence
@pytest.mark.parametrize(
    "answer", [["127.0.0.1"], ["10.0.0.7"], ["1.1.1.1", "127.0.0.1"], ["::1"], ["::ffff:127.0.0.1"]]
)
def test_a_name_that_leads_inside_is_refused_even_if_it_also_leads_outside(receiver, monkeypatch, answer):
    answering(monkeypatch, answer)
    sent = safe_http.post(f"https://innocent.example.org:{receiver.server_address[1]}/", b"{}", {}, [])
    assert sent.refused
    assert receiver.hits == []


@pytest.mark.defence
def test_a_name_that_changes_its_mind_is_asked_once_and_the_checked_address_is_dialled(receiver, monkeypatch):
    """DNS rebinding: the second look-up would lead to another address; nobody makes it."""
    dialled = []

    def dial(address, timeout=None, **_):
        # What the real one does with a name is look it up: the attack's second question.
        host, port = address
        found = socket.getaddrinfo(host, port)[0][4] if not host[0].isdigit() else address
        dialled.append(found[0])
        raise ConnectionRefusedError

    asked = answering(monkeypatch, ["1.1.1.1"], ["127.0.0.1"])
    monkeypatch.setattr(socket, "create_connection", dial)
    answer = safe_http.post(f"https://rebind.example.org:{receiver.server_address[1]}/", b"{}", {}, [])
    assert answer.fault == "It refused the connection."
    assert asked == ["rebind.example.org"]
    assert dialled == ["1.1.1.1"]


@pytest.mark.defence
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(receiver, status):
    receiver.behaviour = Behaviour(status, {"location": receiver.url("/inside")})
    answer = safe_http.post(receiver.url("/a"), b"{}", {}, safe_addresses.networks(["127.0.0.0/8"]))
    assert answer.status == status
    assert [hit.path for hit in receiver.hits] == ["/a"]


def test_proxies_of_the_environment_are_not_used(receiver, monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert safe_http.post(receiver.url(), b"{}", {}, safe_addresses.networks(["127.0.0.0/8"])).status == 204


def test_an_endless_answer_is_read_in_part_only(receiver):
    receiver.behaviour = Behaviour(200, body=b"x" * 5_000_000)
    assert safe_http.post(receiver.url(), b"{}", {}, safe_addresses.networks(["127.0.0.0/8"])).status == 200


def test_what_is_not_http_is_said_in_a_sentence(servers, db):
    import threading

    with socket.create_server(("127.0.0.1", 0)) as server:

        def babble():
            talk, _ = server.accept()
            while not talk.recv(4096).endswith(b"{}"):
                pass
            talk.sendall(b"220 this is not what you think\r\n" * 3)
            talk.close()

        threading.Thread(target=babble, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        answer = safe_http.post(url, b"{}", {}, safe_addresses.networks(["127.0.0.0/8"]))
    assert answer.status is None
    assert answer.fault == "It did not answer in HTTP."


# The channel on top of it.


@pytest.mark.django_db
@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/x", "https://localhost/x", "https://169.254.169.254/latest/meta-data"]
)
def test_a_channel_that_leads_inside_cannot_be_made(tenant, settings, url):
    settings.STRONGROOM_WEBHOOK_NETWORKS = []
    with pytest.raises(channels.ChannelRefused) as refusal:
        make_channel(tenant, ChannelKind.WEBHOOK, url)
    assert url not in str(refusal.value)


@pytest.mark.django_db
def test_a_channel_that_leads_inside_later_sends_nothing(tenant, hook, receiver, settings):
    settings.STRONGROOM_WEBHOOK_NETWORKS = []
    raise_alert(tenant.pk, "failed", "machine:x", "error", "It failed.")
    deliver_due()
    assert receiver.hits == []
    assert "inside the house" in Delivery.objects.get().last_error


@pytest.mark.django_db
def test_a_webhook_is_signed_as_the_standard_says(tenant, hook, receiver):
    raise_alert(tenant.pk, "failed", "machine:x", "error", "It failed.")
    deliver_due()
    (hit,) = receiver.hits
    key = base64.b64decode(open_sealed(hook.pk, bytes(hook.sealed))["key"].removeprefix("whsec_"))
    signed = f"{hit.headers['webhook-id']}.{hit.headers['webhook-timestamp']}.".encode() + hit.body
    expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert hit.headers["webhook-signature"] == expected
    assert abs(int(hit.headers["webhook-timestamp"]) - time.time()) < 60
    document = json.loads(hit.body)
    assert (document["type"], document["data"]["tenant"], document["data"]["level"]) == (
        "alert.opened",
        "acme",
        "error",
    )


@pytest.mark.django_db
def test_while_a_key_is_changed_both_sign_for_a_day(tenant, hook, receiver):
    old = open_sealed(hook.pk, bytes(hook.sealed))["key"]
    new = channels.rotate_key(hook, actor="ada")
    raise_alert(tenant.pk, "failed", "machine:x", "error", "It failed.")
    deliver_due()
    hit = receiver.hits[0]
    stamp, message_id = int(hit.headers["webhook-timestamp"]), hit.headers["webhook-id"]
    assert hit.headers["webhook-signature"] == webhook.signature([new, old], message_id, stamp, hit.body)
    held = open_sealed(hook.pk, bytes(Channel.objects.get().sealed))
    held["former"][0]["until"] = "2020-01-01T00:00:00+00:00"
    assert webhook.valid_keys(held) == [new]


def test_the_standards_own_example_gives_the_standards_own_signature():
    """From the Standard Webhooks documentation."""
    key, message, stamp = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330
    signed = webhook.signature([key], message, stamp, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
