"""Enrolment strings and blobs: strict, and silent about secrets."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.errors import ExitCode
from agents.keys.enrollment import EnrollmentString, new_enrollment, open_blob, seal_blob
from agents.keys.enrollment_key import EnrollmentKey
from agents.keys.faults import EnrollmentFault

TOKEN, KEY, CA = b"t" * 32, b"k" * 32, b"c" * 32
SAMPLE = EnrollmentString("backup.example.org", 7420, TOKEN, CA, KEY)
TEXT = SAMPLE.format()
T64 = base64.urlsafe_b64encode(TOKEN).rstrip(b"=").decode()
K64 = base64.urlsafe_b64encode(KEY).rstrip(b"=").decode()
VAULT = b"v" * 16
HELD = EnrollmentKey(VAULT, 2, b"s" * 32, b"h" * 32, 5)


def test_the_string_has_the_documented_form() -> None:
    assert f"strongroom://backup.example.org:7420/?token={T64}&ca={CA.hex()}#{K64}" == TEXT
    assert EnrollmentString.parse(f"  {TEXT}\n") == SAMPLE
    assert EnrollmentString.parse(TEXT.replace("/?", "?")) == SAMPLE
    assert EnrollmentString.parse(f"strongroom://backup.example.org:7420/?ca={CA.hex()}&token={T64}#{K64}") == SAMPLE


@given(
    host=st.sampled_from(["localhost", "a.b.example", "xn--bcher-kva.example", "10.0.0.7", "::1", "2001:db8::7"]),
    port=st.integers(1, 65535),
    token=st.binary(min_size=32, max_size=32),
    key=st.binary(min_size=32, max_size=32),
)
def test_every_string_survives_writing_and_reading(host: str, port: int, token: bytes, key: bytes) -> None:
    made = EnrollmentString(host, port, token, CA, key)
    assert EnrollmentString.parse(made.format()) == made


WRONG = {
    "scheme": (TEXT.replace("strongroom:", "https:"), "begin with strongroom"),
    "empty": ("", "no enrolment string"),
    "endless": (TEXT + "x" * 2000, "no enrolment string"),
    "no port": (TEXT.replace(":7420", ""), "port"),
    "port 0": (TEXT.replace(":7420", ":0"), "port"),
    "port too large": (TEXT.replace(":7420", ":65536"), "port"),
    "port in other digits": (TEXT.replace(":7420", ":\u0667"), "port"),
    "no host": (TEXT.replace("backup.example.org", ""), "address"),
    "host with user": (TEXT.replace("backup", "me@backup"), "address"),
    "host with space": (TEXT.replace("backup", "my backup"), "address"),
    "bad IPv6": (TEXT.replace("backup.example.org", "[::g]"), "address"),
    "path": (TEXT.replace("/?", "/evil?"), "path"),
    "no token": (TEXT.replace(f"token={T64}&", ""), "token is missing"),
    "no ca": (TEXT.replace(f"&ca={CA.hex()}", ""), "ca is missing"),
    "token twice": (TEXT.replace("?token", f"?token={T64}&token"), "token twice"),
    "unknown part": (TEXT.replace("?token", "?admin=1&token"), "besides token and ca"),
    "no query": (TEXT.replace(f"?token={T64}&ca={CA.hex()}", ""), "besides|missing"),
    "short token": (TEXT.replace(T64, T64[:-1]), "token in the enrolment string is damaged"),
    "padded token": (TEXT.replace(T64, T64 + "="), "token in the enrolment string is damaged"),
    "token in the other base64": (TEXT.replace(T64, "+" * 43), "token in the enrolment string is damaged"),
    "token with stray bits": (TEXT.replace(T64, T64[:-1] + "R"), "token in the enrolment string is damaged"),
    "short ca": (TEXT.replace(CA.hex(), CA.hex()[:-1]), "ca in the enrolment"),
    "ca in capitals": (TEXT.replace(CA.hex(), "AB" * 32), "ca in the enrolment"),
    "no key": (TEXT.partition("#")[0], "key after the # sign is missing"),
    "empty key": (TEXT.partition("#")[0] + "#", "key after the # sign is missing"),
    "short key": (TEXT[:-2], "key after the # sign in the enrolment string is damaged"),
    "two fragments": (TEXT + "#" + K64, "key after the # sign in the enrolment string is damaged"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_string_is_refused_and_the_wrong_part_named(case: str) -> None:
    text, fault = WRONG[case]
    with pytest.raises(EnrollmentFault, match=fault) as caught:
        EnrollmentString.parse(text)
    assert caught.value.exit_code == ExitCode.USAGE


@settings(max_examples=300)
@given(position=st.integers(0, len(TEXT) - 1), replacement=st.characters())
def test_faults_never_repeat_token_or_key(position: int, replacement: str) -> None:
    try:
        EnrollmentString.parse(TEXT[:position] + replacement + TEXT[position + 1 :])
    except EnrollmentFault as fault:
        told = str(fault) + repr(fault) + repr(fault.__cause__)
    else:
        return
    assert not any(secret[start : start + 8] in told for secret in (T64, K64) for start in range(0, 32, 4))


@given(st.text(max_size=80))
def test_no_text_makes_it_crash(text: str) -> None:
    for candidate in (text, "strongroom://" + text):
        with pytest.raises(EnrollmentFault):
            EnrollmentString.parse(candidate)


def test_a_blob_opens_with_its_string_for_its_vault() -> None:
    made, blob = new_enrollment("h.example", 1, CA, HELD)
    secret = open_blob(made, blob, VAULT)
    assert (secret.epoch, secret.dedup_secret, secret.signing_key_hash) == (2, b"s" * 32, b"h" * 32)
    assert secret.vault_record_number == 5
    assert b"s" * 32 not in blob
    assert new_enrollment("h.example", 1, CA, HELD)[0].token != made.token


@pytest.mark.parametrize("part", ["token", "key", "vault"])
def test_a_blob_does_not_open_for_another_token_key_or_vault(part: str) -> None:
    blob = seal_blob(SAMPLE, HELD)
    token, key = (b"x" * 32 if part == name else value for name, value in (("token", TOKEN), ("key", KEY)))
    other = EnrollmentString("backup.example.org", 7420, token, CA, key)
    with pytest.raises(EnrollmentFault, match="does not open"):
        open_blob(other, blob, b"w" * 16 if part == "vault" else VAULT)


def test_a_blob_with_any_byte_changed_is_refused() -> None:
    blob = seal_blob(SAMPLE, HELD)
    for position in range(len(blob)):
        damaged = bytearray(blob)
        damaged[position] ^= 1
        with pytest.raises(EnrollmentFault):
            open_blob(SAMPLE, bytes(damaged), VAULT)
    for cut in range(len(blob)):
        with pytest.raises(EnrollmentFault):
            open_blob(SAMPLE, blob[:cut], VAULT)


def test_the_enrolment_key_file_survives_writing_and_reading(tmp_path: Path) -> None:
    (tmp_path / "enrolment-key.json").write_bytes(HELD.to_json())
    assert EnrollmentKey.read(tmp_path) == EnrollmentKey.read(tmp_path / "enrolment-key.json") == HELD
    values = json.loads(HELD.to_json())
    assert base64.b64decode(values["dedup_secret"]) == b"s" * 32
    assert set(values) == {"vault_id", "epoch", "dedup_secret", "signing_key_hash", "vault_record_number"}


@pytest.mark.parametrize(
    "change", [{"epoch": "1"}, {"epoch": 0}, {"epoch": True}, {"dedup_secret": "AAAA"}, {"vault_id": 7}]
)
def test_a_damaged_enrolment_key_file_is_refused(change: dict[str, object]) -> None:
    values = json.loads(HELD.to_json()) | change
    with pytest.raises(EnrollmentFault, match="damaged"):
        EnrollmentKey.from_json(json.dumps(values).encode())


def test_a_missing_or_nonsensical_enrolment_key_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EnrollmentFault, match="No such file"):
        EnrollmentKey.read(tmp_path)
    for content in (b"", b"[]", b"null", b"\xff", b"{}"):
        with pytest.raises(EnrollmentFault, match="damaged"):
            EnrollmentKey.from_json(content)
