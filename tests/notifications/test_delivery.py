"""Sending: nothing lost while somebody is away, nothing told twice, and one bad channel does not stop the others."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from backup_platform.notifications import acting, channels, endings
from backup_platform.notifications.delivery import claim_due, deliver_due
from backup_platform.notifications.models import Alert, Channel, Delivery
from backup_platform.notifications.planning import plan_deliveries
from backup_platform.notifications.services import raise_alert, resolve_alert
from backup_platform.notifications.words import ChannelKind, DeliveryState
from backup_platform.tenants.scope import without_tenant_scope
from tests.notifications.conftest import make_channel, make_due
from tests.notifications.receivers import Behaviour, MailServer, serve, stop, wait_until

pytestmark = pytest.mark.django_db


def say(tenant, key="k", text="Backup of web-1 failed."):
    return raise_alert(tenant.pk if tenant else None, "failed", "machine:x", "error", text, "Look at the job.", key)


def test_a_letter_says_what_is_wrong_and_what_to_do(tenant, mailbox, mail_server, settings):
    settings.STRONGROOM_CONSOLE_URL = "https://backup.example.org"
    alert = say(tenant)
    assert deliver_due().delivered == 1
    (letter,) = mail_server.letters
    assert letter.to == ["ops@example.org"]
    assert letter.message["subject"] == "[Strongroom] Error: Backup of web-1 failed. (acme)"
    assert "What to do: Look at the job." in letter.text
    assert f"https://backup.example.org/admin/notifications/alert/{alert}/change/" in letter.text


def test_many_at_once_make_one_letter_and_the_end_another(tenant, mailbox, mail_server):
    for number in range(12):
        say(tenant, str(number), f"Backup of web-{number} failed.")
    deliver_due()
    resolve_alert(tenant.pk, "3", "It works again.")
    deliver_due()
    assert len(mail_server.letters) == 2
    assert mail_server.letters[0].message["subject"] == "[Strongroom] 12 messages, the worst: error"
    assert all(f"web-{number} failed" in mail_server.letters[0].text for number in range(12))
    assert mail_server.letters[1].message["subject"].startswith("[Strongroom] Over: Backup of web-3 failed.")


def test_a_name_with_line_breaks_makes_no_header(tenant, mailbox, mail_server):
    say(tenant, text="Backup of web\r\nBcc: spy@example.org\r\n failed.")
    deliver_due()
    (letter,) = mail_server.letters
    assert letter.message["bcc"] is None
    assert letter.to == ["ops@example.org"]


def test_while_the_mail_server_is_away_nothing_is_lost_and_nothing_is_told_twice(tenant, mailbox, mail_server):
    port = mail_server.port
    stop(mail_server)
    say(tenant, "a", "First.")
    assert deliver_due().retried == 1
    resolve_alert(tenant.pk, "a", "It works again.")
    say(tenant, "b", "Second.")
    for _ in range(3):
        make_due()
        deliver_due()
    assert not Delivery.objects.filter(state=DeliveryState.DELIVERED).exists()
    back = MailServer(port)
    serve(back)
    try:
        for _ in range(3):
            make_due()
            deliver_due()
        text = "".join(letter.text for letter in back.letters)
    finally:
        stop(back)
    lines = [line for line in text.splitlines() if line in {"First.", "Second.", "It is over: First."}]
    assert sorted(lines) == ["First.", "It is over: First.", "Second."]
    assert lines.index("First.") < lines.index("It is over: First.")
    assert set(Delivery.objects.values_list("state", flat=True)) == {DeliveryState.DELIVERED}


def test_without_a_mail_server_the_log_says_who_has_to_do_what(tenant, mail_server, settings, mailbox):
    settings.EMAIL_HOST = ""
    say(tenant)
    deliver_due()
    assert "STRONGROOM_EMAIL_HOST" in Delivery.objects.get().last_error


def test_an_address_that_is_refused_for_good_is_given_up_and_told_to_the_others(tenant, mailbox, mail_server, receiver):
    hook = make_channel(tenant, ChannelKind.WEBHOOK, receiver.url())
    mail_server.refuse = ["ops@"]
    say(tenant)
    deliver_due()
    deliver_due()
    assert Delivery.objects.filter(channel=mailbox).get().state == DeliveryState.FAILED
    alert = Alert.objects.get(kind="channel")
    assert mailbox.name in alert.text
    assert [delivery.channel_id for delivery in alert.deliveries.all()] == [hook.pk]


def test_a_receiver_that_fails_is_asked_again_after_growing_pauses(tenant, hook, receiver):
    receiver.behaviour = Behaviour(500)
    say(tenant)
    pauses = []
    for _ in range(6):
        make_due()
        deliver_due()
        pauses.append((Delivery.objects.get(channel=hook).next_attempt_at - timezone.now()).total_seconds())
    assert pauses == sorted(pauses)
    assert pauses[-1] > 500
    assert Delivery.objects.get(channel=hook).last_error == "It answered 500."
    assert Alert.objects.filter(kind="channel", resolved_at=None).count() == 1
    receiver.behaviour = Behaviour()
    make_due()
    deliver_due()
    assert len({hit.headers["webhook-id"] for hit in receiver.hits}) == 1
    assert Alert.objects.get(kind="channel").resolved_at


def test_after_three_days_a_message_is_given_up_and_can_be_sent_again_by_hand(tenant, hook, receiver):
    receiver.behaviour = Behaviour(503)
    say(tenant)
    deliver_due()
    delivery = Delivery.objects.get(channel=hook)
    with pytest.raises(acting.ActRefused):
        acting.redeliver(delivery, actor="ada")
    Delivery.objects.update(created_at=timezone.now() - endings.GIVE_UP_AFTER - timedelta(minutes=1))
    make_due()
    assert deliver_due().failed == 1
    receiver.behaviour = Behaviour()
    acting.redeliver(delivery, actor="ada")
    assert deliver_due().delivered == 1
    assert len({hit.headers["webhook-id"] for hit in receiver.hits}) == 1


def test_a_receiver_that_is_gone_pauses_its_channel(tenant, hook, receiver):
    receiver.behaviour = Behaviour(410)
    say(tenant)
    deliver_due()
    hook.refresh_from_db()
    assert hook.paused_at
    say(tenant, "b")
    deliver_due()
    assert len(receiver.hits) == 1
    channels.resume_channel(hook, actor="ada")
    receiver.behaviour = Behaviour()
    say(tenant, "c")
    deliver_due()
    assert len(receiver.hits) == 2


def test_a_dead_channel_is_tried_once_a_tick_and_holds_up_nobody(tenant, other, receiver, mail_server):
    dead = make_channel(tenant, ChannelKind.WEBHOOK, "http://127.0.0.1:1/hook")
    make_channel(tenant, ChannelKind.WEBHOOK, receiver.url())
    for number in range(30):
        say(tenant, str(number))
    deliver_due()
    assert len(receiver.hits) == 30
    waiting = Delivery.objects.filter(channel=dead)
    assert sorted(waiting.values_list("attempts", flat=True))[-2:] == [0, 1]
    assert not waiting.filter(next_attempt_at__lte=timezone.now()).exists()


def test_what_a_dead_worker_was_sending_is_sent_again_under_the_same_id(tenant, hook, receiver):
    say(tenant)
    plan_deliveries()
    ((delivery,),) = claim_due("a worker that dies")
    assert deliver_due().delivered == 0
    make_due()
    assert deliver_due().delivered == 1
    assert receiver.hits[0].headers["webhook-id"] == f"msg_{delivery.uid.hex}"


def test_a_late_worker_cannot_overwrite_what_another_one_wrote(tenant, hook, receiver):
    from backup_platform.notifications.outcomes import Outcome

    say(tenant)
    plan_deliveries()
    ((stale,),) = claim_due("slow")
    make_due()
    deliver_due()
    endings.settle([stale], [Outcome(ok=False, fault="too late")], endings.Delivered())
    assert Delivery.objects.get().state == DeliveryState.DELIVERED


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once_tell_each_thing_once(tenant, hook, receiver):
    for number in range(40):
        say(tenant, str(number))
    barrier = threading.Barrier(3)
    faults = []

    def work():
        try:
            with without_tenant_scope("tests"):
                barrier.wait(30)
                for _ in range(3):
                    deliver_due()
        except Exception as fault:  # noqa: BLE001 (a thread's fault is the test's)
            faults.append(fault)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert not faults
    deliver_due()
    ids = [hit.headers["webhook-id"] for hit in receiver.hits]
    assert len(ids) == len(set(ids)) == 40


def test_without_a_broker_alerts_are_raised_and_told(tenant, hook, receiver, settings):
    settings.CELERY_BROKER_URL = settings.REDIS_URL = "redis://127.0.0.1:1/0"
    say(tenant)
    assert deliver_due().delivered == 1


def test_the_test_button_really_delivers_and_says_how_it_went(tenant, hook, mailbox, receiver, mail_server):
    assert channels.check_channel(hook, actor="ada").ok
    assert b'"type":"alert.test"' in receiver.hits[0].body
    assert channels.check_channel(mailbox, actor="ada").ok
    assert "Test of" in mail_server.letters[0].message["subject"]
    receiver.behaviour = Behaviour(404)
    outcome = channels.check_channel(hook, actor="ada")
    assert (outcome.ok, outcome.fault) == (False, "It answered 404.")
    assert Delivery.objects.filter(event="test", state="failed", last_error="It answered 404.").count() == 1
    assert deliver_due().delivered == 0


def test_a_sender_with_a_defect_costs_an_attempt_and_nothing_else(tenant, hook, receiver, monkeypatch):
    Channel.objects.filter(pk=hook.pk).update(kind="apprise")
    monkeypatch.setattr("backup_platform.notifications.sending.send_note", lambda *_: 1 / 0)
    other = make_channel(tenant, ChannelKind.WEBHOOK, receiver.url())
    say(tenant)
    deliver_due()
    assert Delivery.objects.get(channel=hook).last_error == "Sending failed inside the platform (ZeroDivisionError)."
    assert Delivery.objects.get(channel=other).state == DeliveryState.DELIVERED


def test_a_slow_receiver_is_cut_off(tenant, hook, receiver, monkeypatch):
    from backup_platform.notifications import safe_http

    monkeypatch.setattr(safe_http, "SECONDS", 0.3)
    release = threading.Event()
    receiver.behaviour = Behaviour(hold=release)
    say(tenant)
    deliver_due()
    release.set()
    assert Delivery.objects.get().last_error == "It did not answer in time."
    wait_until(lambda: receiver.hits, "the request")


@pytest.mark.defence
@pytest.mark.django_db(transaction=True)
def test_what_one_worker_is_claiming_another_does_not_get(tenant, hook):
    say(tenant)
    plan_deliveries()
    got: list = []

    def other_worker():
        with without_tenant_scope("tests"):
            got.extend(claim_due("two"))
        connection.close()

    thread = threading.Thread(target=other_worker)
    with transaction.atomic():
        assert claim_due("one")
        thread.start()
        thread.join(5)  # it does not wait for us; without the lock it would, and then take the same
    thread.join(30)
    assert got == []


@pytest.mark.defence
def test_that_it_is_over_waits_for_that_it_began(tenant, hook, receiver):
    receiver.behaviour = Behaviour(500)
    say(tenant)
    deliver_due()
    resolve_alert(tenant.pk, "k", "It works again.")
    receiver.behaviour = Behaviour()
    deliver_due()
    assert len(receiver.hits) == 1
    make_due()
    for _ in range(2):
        deliver_due()
    assert [b"alert.resolved" in hit.body for hit in receiver.hits] == [False, False, True]


def test_the_test_button_does_not_fill_a_mailbox(tenant, mailbox, mail_server, monkeypatch):
    monkeypatch.setattr(channels, "MAX_TESTS", 2)
    assert [channels.check_channel(mailbox, actor="ada").ok for _ in range(3)] == [True, True, False]
    assert len(mail_server.letters) == 2
