"""Key files: what is read, and how everything else is refused with its fault named."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, x448, x25519
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.errors import AgentError, ExitCode
from agents.keys.faults import KeyFault, PassphraseMissing, WrongPassphrase
from agents.keys.rsa import load_private, load_public
from tests.keys.material import (
    DER,
    PEM,
    PKCS1,
    PKCS8,
    PLAIN,
    SPKI,
    foreign_key,
    numbers,
    pkcs8_of,
    private_key,
)

VECTORS = Path(__file__).parents[1] / "vectors" / "keys"
RSASSA_PSS = "1.2.840.113549.1.1.10"


def openssl(*arguments: str, data: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *arguments], input=data, capture_output=True, check=True, timeout=60).stdout


def foreign_file(key: object, form: object = PKCS8) -> bytes:
    return key.private_bytes(PEM, form, PLAIN)


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
@pytest.mark.parametrize("encoding", [PEM, DER])
def test_keys_of_every_accepted_size_are_read(bits: int, encoding: serialization.Encoding) -> None:
    foreign = foreign_key("one", bits)
    assert load_private(foreign.private_bytes(encoding, PKCS8, PLAIN)).public.bits == bits
    assert load_public(foreign.public_key().public_bytes(encoding, SPKI)).spki == private_key("one", bits).public.spki


def test_a_pem_file_may_have_crlf_line_ends_and_a_byte_order_mark() -> None:
    text = foreign_file(foreign_key("one")).replace(b"\n", b"\r\n")
    assert load_private(b"\xef\xbb\xbf" + text + b"\r\n").public == private_key("one").public


OTHER_KINDS: dict[str, tuple[Callable[[], object], str]] = {
    "EC": (lambda: ec.generate_private_key(ec.SECP256R1()), "elliptic-curve"),
    "Ed25519": (ed25519.Ed25519PrivateKey.generate, "Ed25519"),
    "Ed448": (ed448.Ed448PrivateKey.generate, "Ed448"),
    "X25519": (x25519.X25519PrivateKey.generate, "X25519"),
    "X448": (x448.X448PrivateKey.generate, "X448"),
    "DSA": (lambda: dsa.generate_private_key(2048), "DSA"),
}


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_keys_of_other_algorithms_are_refused_by_name(kind: str) -> None:
    make, name = OTHER_KINDS[kind]
    key = make()
    with pytest.raises(KeyFault, match=name):
        load_private(foreign_file(key))
    with pytest.raises(KeyFault, match=name):
        load_public(key.public_key().public_bytes(PEM, SPKI))


def test_an_encrypted_key_of_another_algorithm_is_refused_by_name() -> None:
    pem = ed25519.Ed25519PrivateKey.generate().private_bytes(
        PEM, PKCS8, serialization.BestAvailableEncryption(b"words")
    )
    with pytest.raises(KeyFault, match="Ed25519"):
        load_private(pem, "words")


def test_a_key_restricted_to_pss_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(KeyFault, match="id-RSASSA-PSS"):
        load_private(pkcs8_of(numbers(), RSASSA_PSS))
    made = openssl("genpkey", "-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048")
    with pytest.raises(KeyFault, match="id-RSASSA-PSS"):
        load_private(made)
    with pytest.raises(KeyFault, match="id-RSASSA-PSS"):
        load_public(openssl("pkey", "-pubout", data=made))


@pytest.mark.parametrize("bits", [1024, 2046, 2056, 3080])
def test_keys_of_other_sizes_are_refused(bits: int) -> None:
    key = foreign_key("odd", bits)
    for load, data in ((load_private, foreign_file(key)), (load_public, key.public_key().public_bytes(PEM, SPKI))):
        with pytest.raises(KeyFault, match=f"has {bits} bits"):
            load(data)


def test_another_exponent_is_refused() -> None:
    key = foreign_key("three", 2048, 3)
    for load, data in ((load_private, foreign_file(key)), (load_public, key.public_key().public_bytes(DER, SPKI))):
        with pytest.raises(KeyFault, match="exponent is not 65537"):
            load(data)


def inconsistent() -> dict[str, tuple[dict[str, int], str]]:
    one, two = numbers("one"), numbers("two")
    composite = 3 * ((one["p"] // 3) | 1)
    return {
        "modulus": (one | {"n": one["n"] + 2}, "primes do not make its modulus"),
        "foreign primes": (one | {"p": two["p"], "q": two["q"]}, "primes do not make its modulus"),
        "trivial factors": (one | {"p": one["n"], "q": 1}, "primes do not make its modulus"),
        "private exponent": (one | {"d": one["d"] + 2}, "private exponent"),
        "private exponent zero": (one | {"d": 0}, "private exponent"),
        "dp": (one | {"dp": one["dp"] + 1}, "CRT"),
        "dq": (one | {"dq": one["dq"] + 1}, "CRT"),
        "qi": (one | {"qi": one["qi"] + 1}, "CRT"),
        "qi not reduced": (one | {"qi": one["qi"] + one["p"]}, "CRT"),
        "swapped primes": (one | {"p": one["q"], "q": one["p"]}, "CRT"),
        "composite": (composite_key(composite, one["q"]), "not prime"),
    }


def composite_key(p: int, q: int) -> dict[str, int]:
    """Return numbers that fit one another although p is not prime."""
    import math

    while True:
        order = math.lcm(p - 1, q - 1)
        if math.gcd(65537, order) == 1 and math.gcd(p, q) == 1 and (p * q).bit_length() == 2048:
            d = pow(65537, -1, order)
            fitting = {"n": p * q, "e": 65537, "d": d, "p": p, "q": q}
            return fitting | {"dp": d % (p - 1), "dq": d % (q - 1), "qi": pow(q, -1, p)}
        p += 6


@pytest.mark.parametrize("case", list(inconsistent()))
def test_an_inconsistent_private_key_is_refused(case: str) -> None:
    values, fault = inconsistent()[case]
    with pytest.raises(KeyFault, match=fault):
        load_private(pkcs8_of(values))


@pytest.mark.parametrize("case", [case for case in inconsistent() if case != "composite"])
def test_an_inconsistent_private_key_is_refused_although_its_primes_are_known_to_be_prime(case: str) -> None:
    """A machine's own key file may have been damaged since its primes were tested."""
    values, fault = inconsistent()[case]
    with pytest.raises(KeyFault, match=fault):
        load_private(pkcs8_of(values), proven=True)


def test_own_key_is_the_same_key_without_a_new_proof() -> None:
    key = private_key("one")
    assert load_private(key.to_pem(None), proven=True).public == key.public


def test_a_public_key_where_a_private_one_is_needed_is_refused_and_the_other_way_round() -> None:
    with pytest.raises(KeyFault, match="private key is needed here, but this is a public key"):
        load_private(private_key("one").public.to_pem())
    with pytest.raises(KeyFault, match="public key is needed here, but this is a private key"):
        load_public(private_key("one").to_pem(None))
    with pytest.raises(KeyFault, match="public key is needed here, but this is an encrypted private key"):
        load_public(private_key("one").to_pem("words", rounds=1000))


def test_old_forms_are_refused_by_name() -> None:
    foreign = foreign_key("one")
    with pytest.raises(KeyFault, match=r"PKCS #1") as caught:
        load_private(foreign_file(foreign, PKCS1))
    assert "openssl pkcs8 -topk8" in str(caught.value)
    with pytest.raises(KeyFault, match=r"PKCS #1"):
        load_public(foreign.public_key().public_bytes(PEM, serialization.PublicFormat.PKCS1))
    with pytest.raises(KeyFault, match="elliptic-curve"):
        load_private(foreign_file(ec.generate_private_key(ec.SECP256R1()), PKCS1))
    with pytest.raises(KeyFault, match="old format"):
        load_private(foreign.private_bytes(PEM, PKCS1, serialization.BestAvailableEncryption(b"words")), "words")


def test_encryption_that_is_not_pbes2_is_refused() -> None:
    plain = foreign_file(foreign_key("one"))
    weak = openssl("pkcs8", "-topk8", "-v1", "PBE-SHA1-3DES", "-passout", "pass:words", data=plain)
    with pytest.raises(KeyFault, match="outdated"):
        load_private(weak, "words")


def test_more_work_than_is_reasonable_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pem = private_key("one").to_pem("words", rounds=2001)
    monkeypatch.setattr("agents.keys.key_files.MAX_ROUNDS", 2000)
    with pytest.raises(KeyFault, match="more work to open it than is reasonable"):
        load_private(pem, "words")


def serialization_der(pem: bytes) -> bytes:
    import base64

    return base64.b64decode(b"".join(pem.splitlines()[1:-1]))


def test_an_encrypted_key_without_or_with_a_wrong_passphrase_is_refused() -> None:
    pem = private_key("one").to_pem("six right words", rounds=1000)
    with pytest.raises(PassphraseMissing, match="no passphrase was given"):
        load_private(pem)
    with pytest.raises(WrongPassphrase, match="passphrase is wrong") as caught:
        load_private(pem, "six wrong words")
    assert caught.value.exit_code == ExitCode.AUTHENTICATION
    assert load_private(pem, "six right words").public == private_key("one").public


def test_every_wrong_passphrase_is_a_named_fault() -> None:
    """One wrong passphrase in 256 decrypts to valid padding by chance: that must not become another fault."""
    pem = private_key("one").to_pem("right", rounds=1)
    for number in range(700):
        with pytest.raises(KeyFault):
            load_private(pem, f"wrong {number}")


def test_passphrases_are_equal_however_the_keyboard_composes_them() -> None:
    pem = private_key("one").to_pem("Bu\u0308ro", rounds=1000)
    assert load_private(pem, "B\u00fcro").public == private_key("one").public


def test_an_empty_passphrase_is_not_taken_for_protection() -> None:
    with pytest.raises(KeyFault, match="empty passphrase"):
        private_key("one").to_pem("")


def test_openssl_opens_our_encrypted_key_and_we_open_its() -> None:
    ours = private_key("one")
    pem = ours.to_pem("six words", rounds=2000)
    assert openssl("pkey", "-pubout", "-passin", "pass:six words", data=pem) == ours.public.to_pem()
    arguments = ["-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA512", "-iter", "2000", "-passout", "pass:six words"]
    theirs = openssl("pkcs8", "-topk8", *arguments, data=ours.to_pem(None))
    assert load_private(theirs, "six words").public == ours.public


def test_our_encrypted_key_names_the_fixed_parameters() -> None:
    der = serialization_der(private_key("one").to_pem("six words"))
    dump = openssl("asn1parse", "-inform", "DER", data=der).decode()
    for expected in (":PBES2", ":PBKDF2", ":hmacWithSHA512", ":aes-256-cbc", ":0927C0"):  # 0x927C0 rounds: 600,000
        assert expected in dump
    assert len(next(line for line in dump.splitlines() if "OCTET STRING" in line).rpartition(":")[2]) == 32


def test_the_frozen_encrypted_key_opens() -> None:
    """Made once by OpenSSL with 600,000 rounds: a reader that forgets how to open it would lose every kit."""
    public = load_public((VECTORS / "pbes2-public.pem").read_bytes())
    assert (
        load_private((VECTORS / "pbes2-key.pem").read_bytes(), "acorn-badger-canoe-delta-ember-fjord").public == public
    )


FILES = {
    "pem": lambda: private_key("one").to_pem(None),
    "der": lambda: private_key("one").to_der(),
    "encrypted": lambda: private_key("one").to_pem("words", rounds=1),
    "public": lambda: private_key("one").public.spki,
}


@pytest.mark.parametrize("form", FILES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_truncated_key_file_is_always_refused_as_such(form: str, data: st.DataObject) -> None:
    whole = FILES[form]().rstrip(b"\n")
    cut = whole[: data.draw(st.integers(1, len(whole) - 1))]
    load = load_public if form == "public" else load_private
    with pytest.raises(KeyFault, match=r"truncated|neither PEM nor DER"):
        load(cut)


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, 10_000), flip=st.integers(1, 255), form=st.sampled_from(["der", "encrypted", "public"]))
def test_a_damaged_key_file_is_refused_or_another_key_but_never_a_crash(position: int, flip: int, form: str) -> None:
    damaged = bytearray(FILES[form]())
    damaged[position % len(damaged)] ^= flip
    try:
        key = load_public(bytes(damaged)) if form == "public" else load_private(bytes(damaged), "words")
    except AgentError:
        return
    if form == "der":
        assert key.public == private_key("one").public  # only what does not belong to the key was changed
    assert "KEY" not in repr(key)


@pytest.mark.parametrize(
    "data", [b"", b"\n \n", b"hello", b"-----BEGIN PRIVATE KEY-----", b"\x30", b"\x30\x80\0\0", b"0" * 70_000]
)
def test_what_is_no_key_file_is_refused(data: bytes) -> None:
    for load in (load_private, load_public):
        with pytest.raises(KeyFault):
            load(data)


def test_two_keys_in_one_file_or_bytes_behind_a_key_are_refused() -> None:
    pem, der = private_key("one").to_pem(None), private_key("one").to_der()
    with pytest.raises(KeyFault, match="more than one"):
        load_private(pem + pem)
    with pytest.raises(KeyFault, match="followed by bytes"):
        load_private(der + b"\0")
    with pytest.raises(KeyFault, match="followed by bytes"):
        load_public(private_key("one").public.spki + b"\0")


def test_faults_never_repeat_what_was_given() -> None:
    secret = "correct-horse-battery-staple"
    pem = private_key("one").to_pem(secret, rounds=1000)
    for attempt in ((pem, secret + "!"), (pem[:-40], secret)):
        with pytest.raises(KeyFault) as caught:
            load_private(*attempt)
        assert secret not in str(caught.value) + repr(caught.value)
        assert caught.value.__cause__ is None
