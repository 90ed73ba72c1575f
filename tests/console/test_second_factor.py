"""Second factors: nothing without the code, few tries, each code once, recovery codes, and who may ask for one."""

from __future__ import annotations

import re
import time

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from allauth.mfa.utils import decrypt
from django.test import Client
from django.urls import reverse

from backup_platform.audit.models import Entry
from backup_platform.tenants import second_factor
from backup_platform.tenants.errors import CodeRefused, PlaceRefused
from backup_platform.tenants.models import Member, Tenant, User
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.tenants.second_factor import check_code, enable_factor, new_secret, reset_factor

CODE, FACTOR = "/sign-in/code/", "/account/second-factor/"


class Clock:
    """The time that codes are made of: tests step it, so that no code has to be waited for."""

    def __init__(self) -> None:
        self.now = time.time()

    def time(self) -> float:
        return self.now

    def code(self, secret: str, shift: int = 0) -> str:
        return format_hotp_value(hotp_value(secret, int(self.now) // 30 + shift))

    def step(self, seconds: float = 30) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    from allauth.mfa.totp.internal import auth

    clock = Clock()
    monkeypatch.setattr(second_factor.time, "time", clock.time)
    monkeypatch.setattr(auth.time, "time", clock.time)
    return clock


@pytest.fixture
def person(worlds):
    return worlds[0].member.user


@pytest.fixture
def secret(person, clock):
    secret = new_secret()
    enable_factor(person, secret, clock.code(secret))
    return secret


def sign_in(world_name="ours") -> Client:
    client = Client()
    sent = {"username": f"{world_name}-admin", "password": f"a password of {world_name}", "next": "/admin/"}
    assert client.post("/admin/login/", sent).status_code == 302
    return client


def verbs():
    with without_tenant_scope("test"):
        return list(Entry.objects.filter(tenant=None).order_by("id").values_list("verb", flat=True))


@pytest.mark.defence
def test_the_password_alone_opens_nothing(person, secret, clock):
    client = sign_in()
    for address in (
        "/admin/",
        "/tenant/",
        reverse("admin:fleet_machine_changelist"),
        FACTOR,
        "/admin/password_change/",
    ):
        answer = client.get(address)
        assert answer.status_code == 302, address
        assert answer["Location"].startswith(CODE), address
        assert client.post(address, {}).status_code == 302
    assert client.get("/api/v1/machines/").status_code == 403
    assert client.get("/metrics").status_code == 403
    page = client.get(CODE).content.decode()
    assert "ours-machine" not in page
    clock.step()
    answer = client.post(f"{CODE}?next=/tenant/", {"code": clock.code(secret), "next": "/tenant/"})
    assert answer["Location"] == "/tenant/"
    assert "ours-machine" in client.get("/admin/").content.decode()


def test_the_page_sends_nobody_to_another_site(person, secret, clock):
    client = sign_in()
    clock.step()
    answer = client.post(CODE, {"code": clock.code(secret), "next": "https://evil.example/"})
    assert answer["Location"] == "/admin/"


@pytest.mark.defence
def test_a_code_counts_once(person, secret, clock):
    with pytest.raises(CodeRefused):
        check_code(person, clock.code(secret))  # it was used when the factor was set up
    clock.step()
    check_code(person, clock.code(secret))
    with pytest.raises(CodeRefused):
        check_code(person, clock.code(secret))
    clock.step()
    check_code(person, clock.code(secret))


@pytest.mark.defence
def test_after_a_few_wrong_codes_none_is_looked_at_for_a_while(person, secret, clock):
    clock.step()
    for _ in range(second_factor.TRIES):
        with pytest.raises(CodeRefused, match="not right"):
            check_code(person, "000000" if clock.code(secret) != "000000" else "111111")
    with pytest.raises(CodeRefused, match="Too many"):
        check_code(person, clock.code(secret))
    sign_in()  # the password does not start the count anew
    with pytest.raises(CodeRefused, match="Too many"):
        check_code(person, clock.code(secret))
    clock.step(second_factor.PAUSE.total_seconds() + 1)
    check_code(person, clock.code(secret))
    assert verbs().count("user.second_factor_failed") == second_factor.TRIES


@pytest.mark.parametrize("code", ["", " ", "abc", "12345", "1234567890123456789012345678901234567890", "１２３４５６"])
def test_nonsense_is_a_wrong_code(person, secret, code):
    client = sign_in()
    answer = client.post(CODE, {"code": code})
    assert answer.status_code == 400
    assert "This code is not right" in answer.content.decode()


def test_it_is_set_up_from_a_picture_and_recovery_codes_are_shown_once(person, clock):
    client = sign_in()
    page = client.get(FACTOR).content.decode()
    assert 'src="data:image/svg+xml;base64,' in page
    shown = re.search(r'<code class="sr-code">([A-Z2-7 ]+)</code>', page).group(1).replace(" ", "")
    assert client.post(FACTOR, {"act": "enable", "code": "1"}).status_code == 400
    page = client.post(FACTOR, {"act": "enable", "code": clock.code(shown)}).content.decode()
    codes = re.findall(r"\b\d{8}\b", page)
    assert len(codes) == 10
    assert client.get("/admin/").status_code == 200
    assert codes[0] not in client.get(FACTOR).content.decode()
    assert "user.second_factor_enabled" in verbs()
    other = sign_in()
    assert other.post(CODE, {"code": codes[3]}).status_code == 302
    assert other.get("/admin/").status_code == 200
    again = sign_in()
    assert again.post(CODE, {"code": codes[3]}).status_code == 400
    assert "user.recovery_code_used" in verbs()


def test_new_recovery_codes_end_the_old_ones(person, clock):
    secret = new_secret()
    old = enable_factor(person, secret, clock.code(secret))
    clock.step()
    new = second_factor.renew_recovery_codes(person, clock.code(secret))
    with pytest.raises(CodeRefused):
        check_code(person, old[0])
    check_code(person, new[0])


def test_the_secret_is_sealed_at_rest(person, secret):
    for row in Authenticator.objects.all():
        assert secret not in str(row.data)
    row = Authenticator.objects.get(type="totp")
    assert decrypt(row.data["secret"]) == secret


def test_another_session_of_the_same_person_is_asked_too(person, clock):
    elsewhere = sign_in()
    assert elsewhere.get("/admin/").status_code == 200
    secret = new_secret()
    enable_factor(person, secret, clock.code(secret))
    assert elsewhere.get("/admin/")["Location"].startswith(CODE)


def test_it_is_turned_off_with_a_code_only(person, secret, clock):
    client = sign_in()
    clock.step()
    client.post(CODE, {"code": clock.code(secret)})
    assert client.post(FACTOR, {"act": "disable", "code": "000000"}).status_code == 400
    clock.step()
    assert client.post(FACTOR, {"act": "disable", "code": clock.code(secret)}).status_code == 200
    assert second_factor.factor_of(person) is None
    assert "user.second_factor_removed" in verbs()


@pytest.mark.defence
def test_a_tenant_that_asks_for_it_lets_nobody_work_without(worlds, person, clock):
    with without_tenant_scope("test data"):
        Tenant.objects.filter(pk=worlds[0].tenant.pk).update(requires_totp=True)
    client = sign_in()
    for address in ("/admin/", reverse("admin:fleet_machine_changelist")):
        assert client.get(address)["Location"].startswith(FACTOR)
        assert client.post(address)["Location"] == FACTOR
    assert client.get("/api/v1/machines/").status_code == 403
    page = client.get(FACTOR).content.decode()
    assert "asks its members" in page
    shown = re.search(r'<code class="sr-code">([A-Z2-7 ]+)</code>', page).group(1).replace(" ", "")
    client.post(FACTOR, {"act": "enable", "code": clock.code(shown)})
    assert client.get("/admin/").status_code == 200
    clock.step()
    with pytest.raises(PlaceRefused, match="asks its members"):
        second_factor.disable_factor(person, clock.code(shown))


def test_the_other_tenants_members_are_not_asked(worlds):
    with without_tenant_scope("test data"):
        Tenant.objects.filter(pk=worlds[0].tenant.pk).update(requires_totp=True)
    assert sign_in("theirs").get("/admin/").status_code == 200


def test_a_tenants_administrator_turns_the_demand_on_in_the_settings(worlds, member):
    address = reverse("admin:tenants_tenant_change", args=[worlds[0].tenant.pk])
    assert member.post(address, {"requires_totp": "on"}).status_code == 302
    with without_tenant_scope("test"):
        assert Tenant.objects.get(pk=worlds[0].tenant.pk).requires_totp
        line = Entry.objects.get(verb="tenant.changed")
    assert (line.detail["before"], line.detail["after"]) == ({"requires_totp": False}, {"requires_totp": True})
    foreign = reverse("admin:tenants_tenant_change", args=[worlds[1].tenant.pk])
    member.post(foreign, {"requires_totp": "on"})
    with without_tenant_scope("test"):
        assert not Tenant.objects.get(pk=worlds[1].tenant.pk).requires_totp


def test_superusers_without_one_are_urged(worlds):
    User.objects.create_superuser("root", password="a password of root")
    client = Client()
    client.post("/admin/login/", {"username": "root", "password": "a password of root", "next": "/admin/"})
    assert "Turn on a second factor" in client.get("/admin/").content.decode()


def test_the_platform_resets_it_for_who_lost_everything(boss, person, secret):
    address = reverse("admin:tenants_user_reset_factor", args=[person.pk])
    assert boss.get(address).status_code == 200
    assert second_factor.factor_of(person)
    assert boss.post(address).status_code == 302
    assert second_factor.factor_of(person) is None
    assert verbs()[-1] == "user.second_factor_removed"
    assert not reset_factor(person, by="tests")


def test_a_tenants_admin_cannot_reset_anybodys(member, person, secret):
    address = reverse("admin:tenants_user_reset_factor", args=[person.pk])
    assert member.post(address).status_code == 302  # asked for their own code first
    with without_tenant_scope("test"):
        assert Member.objects.filter(user=person).exists()
    assert second_factor.factor_of(person)


def test_ten_wrong_passwords_lock_that_name_out_at_that_address(worlds, settings):
    client = Client()
    sent = {"username": "ours-admin", "password": "wrong", "next": "/admin/"}
    for _ in range(settings.AXES_FAILURE_LIMIT):
        answer = client.post("/admin/login/", sent)
    assert answer.status_code == 429
    right = sent | {"password": "a password of ours"}
    assert client.post("/admin/login/", right).status_code == 429
    elsewhere = Client(REMOTE_ADDR="192.0.2.7")
    assert elsewhere.post("/admin/login/", right).status_code == 302
