"""The small parts of the daemon: waits, conditions, certificates, the platform's configuration, the service."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from agents.daemon import conditions, facts, platform_configuration, renewal, service_unit
from agents.daemon.configuration import Configuration, Limits, parse
from agents.daemon.effective import own_settings, platform_settings
from agents.errors import AuthenticationFault, Disconnected, Revoked, UsageFault
from agents.state import AgentHome
from agents.transport.ladders import LONGEST_ASKED, STEADY, AnswerTimes, Kind, Ladders, kind_of_fault


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_control_is_tried_at_once_then_after_seconds_then_minutes():
    ladders = Ladders(Clock(), lambda: 0.5)
    waits = [ladders.wait(Kind.CONTROL) for _ in range(10)]
    assert waits == [0, 2, 4, 8, 30, 60, 120, 300, 300, 300]
    assert ladders.counts == {"control": 10}


def test_authentication_is_tried_seldom():
    assert kind_of_fault(Revoked("x")) is kind_of_fault(AuthenticationFault("x")) is Kind.AUTHENTICATION
    assert kind_of_fault(Disconnected("x")) is Kind.CONTROL
    ladders = Ladders(Clock(), lambda: 0.5)
    assert [ladders.wait(Kind.AUTHENTICATION) for _ in range(5)] == [60, 300, 900, 3600, 3600]


def test_row_of_failures_begins_anew_only_after_a_connection_that_lived():
    clock = Clock()
    ladders = Ladders(clock, lambda: 0.5)
    for expected in (0, 2, 4):
        assert ladders.wait(Kind.CONTROL) == expected
        ladders.connected()
        clock.now += 1
    ladders.connected()
    clock.now += STEADY
    assert ladders.wait(Kind.CONTROL) == 0


@given(st.floats(0, 1), st.one_of(st.none(), st.floats(0, 1e9)), st.integers(0, 20), st.sampled_from(list(Kind)))
def test_no_wait_is_without_end_and_no_wish_of_the_server_is_ignored(
    chance: float, asked: float | None, before: int, kind: Kind
):
    ladders = Ladders(Clock(), lambda: chance)
    for _ in range(before):
        ladders.wait(kind)
    seconds = ladders.wait(kind, asked)
    assert 0.75 * min(asked or 0, LONGEST_ASKED) <= seconds <= 1.25 * LONGEST_ASKED


def test_time_for_an_answer_follows_how_long_answers_take():
    times = AnswerTimes()
    assert times.timeout == AnswerTimes.FIRST
    for _ in range(20):
        times.observe(0.05)
    assert times.timeout == AnswerTimes.LEAST
    for _ in range(20):
        times.observe(8.0)
    assert times.timeout > 30
    for _ in range(20):
        times.missed()
    assert times.timeout == AnswerTimes.MOST


def supply(directory: Path, name: str, **words: str) -> None:
    (directory / name).mkdir(parents=True)
    for key, value in words.items():
        (directory / name / key).write_text(f"{value}\n")


def test_battery_is_known_where_the_system_says_so(tmp_path: Path):
    assert conditions.on_mains(tmp_path / "none") is None
    supply(tmp_path, "BAT0", type="Battery", status="Discharging")
    assert conditions.on_mains(tmp_path) is None
    supply(tmp_path, "AC", type="Mains", online="0")
    assert conditions.on_mains(tmp_path) is False
    supply(tmp_path, "usb", type="USB", online="1")
    assert conditions.on_mains(tmp_path) is True


def test_backup_waits_on_battery_only_if_machine_or_policy_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(conditions, "on_mains", lambda: False)
    monkeypatch.setattr(conditions, "on_metered", lambda: None)
    assert conditions.hindrance(Limits(), {}) == ""
    assert "battery" in conditions.hindrance(Limits(only_on_ac=True), {})
    assert "battery" in conditions.hindrance(Limits(), {"limits.only_on_ac": True})
    assert conditions.hindrance(Limits(not_on_metered=True), {}) == ""


@pytest.mark.parametrize(
    ("said", "metered"),
    [
        ("GENERAL.STATE:100 (connected)\nGENERAL.METERED:yes\n", True),
        ("GENERAL.STATE:100 (connected)\nGENERAL.METERED:no (guessed)\n", False),
        ("GENERAL.STATE:30 (disconnected)\nGENERAL.METERED:yes\n", None),
        ("GENERAL.STATE:100\nGENERAL.METERED:unknown\n\nGENERAL.STATE:100\nGENERAL.METERED:yes (guessed)\n", True),
        ("nonsense", None),
    ],
)
def test_metered_networks_are_known_where_the_system_says_so(said: str, metered: bool | None):
    assert conditions.read_metered(said) is metered


def home_with_certificate(directory: Path, days: int) -> AgentHome:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    built = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    built = built.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=days))
    home = AgentHome(directory)
    home.prepare()
    (directory / "certificate.pem").write_bytes(built.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    return home


def test_certificate_is_renewed_when_less_than_a_third_of_its_life_is_left(tmp_path: Path):
    home, now = home_with_certificate(tmp_path / "home", 90), datetime.datetime.now(datetime.UTC)
    assert not renewal.is_due(home, now + datetime.timedelta(days=59))
    assert renewal.is_due(home, now + datetime.timedelta(days=61))
    assert renewal.is_due(home, now + datetime.timedelta(days=91))


DOCUMENT = {
    "version": 3,
    "policies": [
        {
            "id": "1",
            "name": "Documents",
            "settings": {"schedule.kind": "cron"},
            "origins": {"schedule.kind": "group Servers"},
        }
    ],
    "tenant": "north",
    "machine": "alpha",
    "later": {"things": 1},
}


def test_platforms_configuration_is_kept_and_a_bad_one_is_not(tmp_path: Path):
    assert platform_configuration.kept(tmp_path).policies == []
    assert platform_configuration.take(tmp_path, json.dumps(DOCUMENT)) == ""
    assert "cannot be read" in platform_configuration.take(tmp_path, '{"policies": 5}')
    kept = platform_configuration.kept(tmp_path)
    assert kept.version == 3
    assert (tmp_path / "platform.json").stat().st_mode & 0o777 == 0o600
    (setting,) = platform_settings(kept)
    assert (setting.name, setting.value, setting.origin) == (
        "Documents: schedule.kind", "cron", "platform, group Servers"
    )  # fmt: skip


def test_each_setting_says_where_it_comes_from():
    text = b'[limits]\nniceness = 4\n[hooks.dump]\ncommand = ["/bin/x"]\n[restore]\nfolders = { desk = "/srv" }\n'
    origins = {each.name: each.origin for each in own_settings(parse(text, "x"))}
    assert (
        origins["limits.niceness"] == origins["hooks.dump.command"] == origins["restore.folders.desk"] == "agent.toml"
    )
    assert origins["limits.io_class"] == origins["restore.allow"] == "default"
    assert {each.origin for each in own_settings(Configuration())} == {"default"}


def test_unit_names_home_and_command_so_that_nothing_is_expanded():
    unit = service_unit.unit(Path('/srv/a home/100%/"x"'), user=False)
    assert 'STRONGROOM_AGENT_HOME=/srv/a home/100%%/\\"x\\""' in unit
    assert " daemon\n" in unit
    assert "NoNewPrivileges=yes" in unit
    assert "WantedBy=default.target" in service_unit.unit(Path("/h"), user=True)
    with pytest.raises(UsageFault):
        service_unit.unit(Path("/a\nExecStart=/bin/evil"), user=False)


def test_facts_are_short_printable_and_say_whether_the_configuration_is_good():
    said = facts.facts("127.0.0.1", 9, "bad\n" + "x" * 1000)
    assert said["configuration"].startswith("badx")
    assert all(len(value) <= 255 and value.isprintable() for value in said.values())
    assert said["address"] == "127.0.0.1"
