"""The pages: what people do with alerts and channels, who may, what is audited, and that no secret is shown twice."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from backup_platform.audit.models import Entry
from backup_platform.notifications import acting
from backup_platform.notifications.delivery import deliver_due
from backup_platform.notifications.models import Alert, Channel, Delivery, Snooze, WatchRules
from backup_platform.notifications.secret_box import open_sealed
from backup_platform.notifications.services import raise_alert
from backup_platform.tenants.models import Member, Role, User
from tests.notifications.conftest import make_machine
from tests.notifications.receivers import Behaviour

pytestmark = pytest.mark.django_db


@pytest.fixture
def client_of(tenant):
    def client_of(role: str) -> Client:
        user = User.objects.create_user(f"{role}-person")
        Member.objects.create(user=user, tenant=tenant, role=role)
        client = Client()
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        return client

    return client_of


@pytest.fixture
def operator(client_of) -> Client:
    return client_of(Role.OPERATOR)


@pytest.fixture
def boss(db) -> Client:
    client = Client()
    user = User.objects.create_superuser("boss", password="x")
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def page(name, *arguments):
    return reverse(f"admin:notifications_{name}", args=arguments)


def verbs():
    return list(Entry.objects.exclude(verb__startswith="user.").order_by("id").values_list("verb", flat=True))


def new_channel(**more):
    return {"name": "ops", "kind": "webhook", "address": "", "lowest_level": "20", "tell_recovery": "on", "whose": "",
            **more}  # fmt: skip


def test_a_webhook_is_made_its_key_shown_once_and_its_address_never_again(operator, tenant, receiver):
    answer = operator.post(page("channel_add"), new_channel(address=receiver.url()))
    channel = Channel.objects.get()
    secrets = open_sealed(channel.pk, bytes(channel.sealed))
    assert secrets["key"] in answer.content.decode()
    assert channel.tenant == tenant
    assert channel.created_by == "user operator-person"
    for address in (
        page("channel_change", channel.pk),
        page("channel_changelist"),
        page("channel_history", channel.pk),
    ):
        shown = operator.get(address).content.decode()
        assert secrets["key"] not in shown
        assert "very-secret-path" not in shown
    assert verbs() == ["channel.added"]


def test_a_change_without_an_address_keeps_the_secret(operator, hook):
    before = open_sealed(hook.pk, bytes(hook.sealed))
    operator.post(page("channel_change", hook.pk), new_channel(name="renamed", lowest_level="30"))
    hook.refresh_from_db()
    assert (hook.name, hook.lowest_level) == ("renamed", 30)
    assert open_sealed(hook.pk, bytes(hook.sealed)) == before


def test_a_bad_address_is_refused_at_its_field_in_a_sentence(operator, settings):
    settings.STRONGROOM_WEBHOOK_NETWORKS = []
    for address in ("http://127.0.0.1/secret", "https://169.254.169.254/secret", ""):
        shown = operator.post(page("channel_add"), new_channel(address=address))
        assert shown.status_code == 200
        assert not Channel.objects.exists()
    shown = operator.post(page("channel_add"), new_channel(kind="email", address="nobody"))
    assert "is not an e-mail address" in shown.content.decode()


def test_a_new_key_is_shown_once_and_the_old_one_signs_for_another_day(operator, hook):
    assert operator.get(page("channel_new_key", hook.pk)).status_code == 200
    shown = operator.post(page("channel_new_key", hook.pk)).content.decode()
    hook.refresh_from_db()
    held = open_sealed(hook.pk, bytes(hook.sealed))
    assert held["key"] in shown
    assert len(held["former"]) == 1
    assert verbs()[-1] == "channel.key_changed"


def test_the_test_button_says_how_it_went(operator, hook, receiver):
    shown = operator.post(page("channel_test", hook.pk), follow=True).content.decode()
    assert "The test was delivered." in shown
    receiver.behaviour = Behaviour(404)
    shown = operator.post(page("channel_test", hook.pk), follow=True).content.decode()
    assert "The test was not delivered. It answered 404." in shown
    assert operator.get(page("channel_test", hook.pk)).status_code == 200
    assert len(receiver.hits) == 2


def test_an_alert_is_acknowledged_and_snoozed(operator, tenant, hook):
    pk = raise_alert(tenant.pk, "failed", "machine:x", "error", "Backup of web-1 failed.")
    assert "Acknowledge this alert?" in operator.get(page("alert_acknowledge", pk)).content.decode()
    assert Alert.objects.get().acknowledged_at is None
    operator.post(page("alert_acknowledge", pk))
    assert Alert.objects.get().acknowledged_by == "user operator-person"
    operator.post(page("alert_snooze", pk), {"reach": "kind", "hours": "24", "reason": "moving house"})
    row = Snooze.objects.get()
    assert (row.kind, row.subject, row.tenant) == ("failed", "", tenant)
    assert operator.get(page("alert_change", pk)).status_code == 200
    operator.post(page("snooze_delete", row.pk), {"post": "yes"})
    assert verbs() == ["channel.added", "alert.acknowledged", "alerts.snoozed", "alerts.snooze_ended"]


def test_open_alerts_stand_first_the_worst_at_the_top(operator, tenant):
    for level, text in (("warning", "Second."), ("error", "First."), ("error", "Third.")):
        raise_alert(tenant.pk, "failed", text, level, text)
    Alert.objects.filter(text="Third.").update(resolved_at=timezone.now())
    shown = operator.get(page("alert_changelist")).content.decode()
    assert shown.index("First.") < shown.index("Second.") < shown.index("Third.")
    assert "Third." not in operator.get(page("alert_changelist"), {"standing": "open"}).content.decode()


def test_a_maintenance_window_and_thresholds_are_made_for_the_own_tenant(operator, tenant):
    operator.post(page("snooze_add"), {"kind": "", "hours": "4", "reason": "new switch"})
    assert Snooze.objects.get().tenant == tenant
    names = ["server_silent", "laptop_silent", "server_overdue", "laptop_overdue", "server_stale", "laptop_stale"]
    hours = dict.fromkeys([*names, "tenant_stale"], "99")
    operator.post(page("watchrules_add"), hours)
    rules = WatchRules.objects.get()
    assert (rules.tenant, rules.server_silent) == (tenant, 99)
    operator.post(page("watchrules_change", rules.pk), {**hours, "server_silent": "0"})
    rules.refresh_from_db()
    assert rules.server_silent == 99
    assert "thresholds.changed" in verbs()


@pytest.mark.defence
def test_thresholds_that_are_removed_leave_a_line(operator, tenant):
    rules = WatchRules.objects.create(tenant=tenant, server_silent=1)
    assert operator.post(page("watchrules_delete", rules.pk), {"post": "yes"}).status_code == 302
    assert not WatchRules.objects.exists()
    lines = Entry.objects.filter(verb="thresholds.removed")
    said = [(line.actor, line.tenant_id, line.detail["server_silent"]) for line in lines]
    assert said == [("user operator-person", tenant.pk, 1)]


def test_the_audit_tells_where_a_channel_leads_and_nothing_secret(operator, hook, receiver):
    changed = new_channel(address=receiver.url("/elsewhere/secret-path"), lowest_level="20")
    operator.post(page("channel_change", hook.pk), changed)
    line = Entry.objects.filter(verb="channel.changed").latest("id")
    assert line.detail["leads_to"]["shown"].startswith("http://127.0.0.1")
    assert "secret-path" not in str(line.detail)


def test_a_delivery_is_sent_again_from_the_log(operator, tenant, hook, receiver):
    raise_alert(tenant.pk, "failed", "machine:x", "error", "It failed.")
    deliver_due()
    pk = Delivery.objects.get().pk
    assert operator.get(page("delivery_redeliver", pk)).status_code == 200
    operator.post(page("delivery_redeliver", pk))
    deliver_due()
    assert len(receiver.hits) == 2
    assert verbs()[-1] == "delivery.repeated"


def test_the_platform_makes_channels_of_its_own_that_hear_of_every_tenant(boss, tenant, receiver):
    boss.post(page("channel_add"), new_channel(address=receiver.url(), tenant="", every_tenant="on"))
    channel = Channel.objects.get()
    assert (channel.tenant, channel.every_tenant) == (None, True)
    bad = new_channel(name="two", address=receiver.url(), tenant=str(tenant.pk), every_tenant="on")
    assert "Only a channel of the platform" in boss.post(page("channel_add"), bad).content.decode()


def test_a_member_cannot_make_a_channel_for_another_tenant_or_for_all(operator, tenant, other, receiver):
    smuggled = new_channel(address=receiver.url(), tenant=str(other.pk), every_tenant="on", person="1", paused_at="x")
    operator.post(page("channel_add"), smuggled)
    channel = Channel.objects.get()
    assert (channel.tenant, channel.every_tenant, channel.person) == (tenant, False, None)


def test_mine_is_mine(operator, receiver):
    operator.post(page("channel_add"), new_channel(address=receiver.url(), whose="me"))
    assert Channel.objects.get().person.get_username() == "operator-person"


@pytest.mark.parametrize("role", [Role.VIEWER, Role.AUDITOR, Role.RESTORE_OPERATOR])
def test_roles_that_only_look_can_do_nothing(client_of, role, tenant, hook, receiver):
    client = client_of(role)
    alert = raise_alert(tenant.pk, "failed", "machine:x", "error", "It failed.")
    deliver_due()
    delivery = Delivery.objects.get().pk
    looks = [page("channel_changelist"), page("channel_change", hook.pk), page("alert_change", alert)]
    assert [client.get(address).status_code for address in looks] == [200, 200, 200]
    acts = [page("channel_test", hook.pk), page("channel_new_key", hook.pk), page("channel_pause", hook.pk),
            page("channel_delete", hook.pk), page("alert_acknowledge", alert), page("alert_snooze", alert),
            page("alert_close", alert),
            page("delivery_redeliver", delivery), page("channel_add"), page("snooze_add"),
            page("watchrules_add")]  # fmt: skip
    assert {client.post(address, {"post": "yes", "hours": "1"}).status_code for address in acts} == {403}
    assert client.post(page("channel_change", hook.pk), new_channel(name="mine")).status_code == 403
    assert len(receiver.hits) == 1


def test_another_tenants_rows_look_missing(operator, other, receiver):
    from tests.notifications.conftest import make_channel

    foreign = make_channel(other, "webhook", receiver.url())
    alert = raise_alert(other.pk, "failed", "machine:x", "error", "It failed.")
    deliver_due()
    acts = [page("channel_test", foreign.pk), page("channel_new_key", foreign.pk), page("channel_pause", foreign.pk),
            page("alert_acknowledge", alert), page("alert_snooze", alert),
            page("delivery_redeliver", Delivery.objects.get().pk)]  # fmt: skip
    assert {operator.post(address).status_code for address in acts} == {404}
    assert len(receiver.hits) == 1


def test_the_dashboard_shows_what_needs_attention_the_worst_first_and_no_other_tenants(operator, tenant, other):
    raise_alert(tenant.pk, "silent", "machine:x", "warning", "web-1 has not been heard of.", "Is it switched on?")
    raise_alert(tenant.pk, "failed", "machine:y", "error", "Backup of web-2 failed.")
    raise_alert(other.pk, "failed", "machine:z", "error", "Backup of umbrella failed.")
    raise_alert(tenant.pk, "failed", "machine:v", "error", "Somebody looks after web-3.")
    acting.acknowledge(Alert.objects.get(text__startswith="Somebody"), actor="ada")
    shown = operator.get(reverse("admin:index")).content.decode()
    assert shown.index("Backup of web-2 failed.") < shown.index("web-1 has not been heard of.")
    assert "Is it switched on?" in shown
    assert "umbrella" not in shown
    assert "Somebody" not in shown


def test_a_member_limited_to_groups_sees_alerts_of_their_machines_only(client_of, tenant):
    from backup_platform.fleet.models import GroupMembership, MachineGroup
    from backup_platform.tenants.models import MemberGroup

    mine, theirs = make_machine(tenant, "mine"), make_machine(tenant, "theirs")
    group = MachineGroup.objects.create(tenant=tenant, name="g")
    GroupMembership.objects.create(tenant=tenant, group=group, machine=mine)
    client = client_of(Role.OPERATOR)
    MemberGroup.objects.create(member=Member.objects.get(), group=group)
    for machine in (mine, theirs):
        raise_alert(tenant.pk, "silent", f"machine:{machine.pk}", "warning", f"{machine.name} has not been heard of.")
    shown = client.get(page("alert_changelist")).content.decode()
    assert "mine has not" in shown
    assert "theirs has not" not in shown
    foreign = Alert.objects.get(machine=theirs).pk
    assert client.post(page("alert_acknowledge", foreign)).status_code == 404


def test_an_alert_that_nothing_ends_is_closed_by_hand(operator, tenant, hook, receiver):
    pk = raise_alert(tenant.pk, "failed", "job:x", "error", "Restore of web-1 failed.")
    assert operator.get(page("alert_close", pk)).status_code == 200
    assert Alert.objects.get().resolved_at is None
    operator.post(page("alert_close", pk))
    assert Alert.objects.get().resolution == "Closed by user operator-person."
    assert verbs()[-1] == "alert.closed"
    assert "It was over before." in operator.post(page("alert_close", pk), follow=True).content.decode()
