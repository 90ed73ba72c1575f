"""RSA as it is fixed, checked against two other implementations in both directions."""

from __future__ import annotations

import copy
import pickle
import subprocess
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from agents.keys.faults import KeyFault, SignatureFault
from agents.keys.rsa import DEDUP_SECRET_LABEL, ROOT_LABEL, generate, load_private, load_public
from tests.keys.material import DER, PEM, PKCS8, PLAIN, SPKI, foreign_key, private_key

SECRET = bytes(range(32))


def oaep(hash_name: type[hashes.HashAlgorithm], label: bytes) -> padding.OAEP:
    return padding.OAEP(padding.MGF1(hash_name()), hash_name(), label)


def pss(salt: int) -> padding.PSS:
    return padding.PSS(padding.MGF1(hashes.SHA256()), salt)


def openssl(*arguments: str | Path, data: bytes = b"") -> bytes:
    return subprocess.run(
        ["openssl", *map(str, arguments)], input=data, capture_output=True, check=True, timeout=20
    ).stdout


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
@pytest.mark.parametrize("label", [ROOT_LABEL, DEDUP_SECRET_LABEL])
def test_wrapping_agrees_with_another_library_in_both_directions(bits: int, label: bytes) -> None:
    foreign, ours = foreign_key("one", bits), private_key("one", bits)
    assert foreign.decrypt(ours.public.wrap(SECRET, label), oaep(hashes.SHA256, label)) == SECRET
    assert ours.unwrap(foreign.public_key().encrypt(SECRET, oaep(hashes.SHA256, label)), label) == SECRET


def test_signing_agrees_with_another_library_in_both_directions() -> None:
    foreign, ours = foreign_key("one"), private_key("one")
    foreign.public_key().verify(ours.sign(b"message"), b"message", pss(32), hashes.SHA256())
    ours.public.verify(b"message", foreign.sign(b"message", pss(32), hashes.SHA256()))


def test_openssl_opens_what_is_wrapped_and_wraps_what_is_opened(tmp_path: Path) -> None:
    ours, key, public = private_key("one"), tmp_path / "key.pem", tmp_path / "public.pem"
    key.write_bytes(ours.to_pem(None))
    public.write_bytes(ours.public.to_pem())
    options = [
        "rsa_padding_mode:oaep",
        "rsa_oaep_md:sha256",
        "rsa_mgf1_md:sha256",
        f"rsa_oaep_label:{ROOT_LABEL.hex()}",
    ]
    flags = [part for option in options for part in ("-pkeyopt", option)]
    wrapped = ours.public.wrap(SECRET, ROOT_LABEL)
    assert openssl("pkeyutl", "-decrypt", "-inkey", key, *flags, data=wrapped) == SECRET
    assert (
        ours.unwrap(openssl("pkeyutl", "-encrypt", "-pubin", "-inkey", public, *flags, data=SECRET), ROOT_LABEL)
        == SECRET
    )


def test_openssl_accepts_our_signature_and_we_accept_its(tmp_path: Path) -> None:
    ours, key, public, signature = private_key("one"), tmp_path / "k", tmp_path / "p", tmp_path / "s"
    key.write_bytes(ours.to_pem(None))
    public.write_bytes(ours.public.to_pem())
    signature.write_bytes(ours.sign(b"message"))
    options = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32", "-sigopt", "rsa_mgf1_md:sha256"]
    answer = openssl("dgst", "-sha256", *options, "-verify", public, "-signature", signature, data=b"message")
    assert b"Verified OK" in answer
    ours.public.verify(b"message", openssl("dgst", "-sha256", *options, "-sign", key, data=b"message"))


@pytest.mark.parametrize("salt", [0, 20, 31, 33, 222])
def test_signature_with_another_salt_length_is_refused(salt: int) -> None:
    signature = foreign_key("one").sign(b"message", pss(salt), hashes.SHA256())
    with pytest.raises(SignatureFault):
        private_key("one").public.verify(b"message", signature)


def test_pkcs1_signature_is_refused() -> None:
    signature = foreign_key("one").sign(b"message", padding.PKCS1v15(), hashes.SHA256())
    with pytest.raises(SignatureFault):
        private_key("one").public.verify(b"message", signature)


@pytest.mark.parametrize("change", ["message", "signature", "key", "empty", "longer"])
def test_signature_over_something_else_is_refused(change: str) -> None:
    key = private_key("two" if change == "key" else "one").public
    signature = bytearray(private_key("one").sign(b"message"))
    if change == "signature":
        signature[100] ^= 1
    if change == "longer":
        signature.append(0)
    with pytest.raises(SignatureFault):
        key.verify(b"messagf" if change == "message" else b"message", b"" if change == "empty" else bytes(signature))


def test_wrapping_with_sha1_is_refused() -> None:
    """The library's default hash is SHA-1: a default that slipped in would be seen here."""
    weak_mask = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA256(), ROOT_LABEL)  # noqa: S303
    for digest in (oaep(hashes.SHA1, ROOT_LABEL), weak_mask):
        with pytest.raises(KeyFault):
            private_key("one").unwrap(foreign_key("one").public_key().encrypt(SECRET, digest), ROOT_LABEL)


@pytest.mark.parametrize("label", [b"", DEDUP_SECRET_LABEL, ROOT_LABEL + b"\0"])
def test_what_was_wrapped_for_one_use_does_not_open_for_another(label: bytes) -> None:
    with pytest.raises(KeyFault):
        private_key("one").unwrap(private_key("one").public.wrap(SECRET, ROOT_LABEL), label)


def test_what_was_wrapped_to_another_key_or_damaged_does_not_open() -> None:
    wrapped = private_key("one").public.wrap(SECRET, ROOT_LABEL)
    for key, data in (
        ("two", wrapped),
        ("one", wrapped[:-1]),
        ("one", b""),
        ("one", b"\xff" * 256),
        ("one", wrapped + b"\0"),
    ):
        with pytest.raises(KeyFault):
            private_key(key).unwrap(data, ROOT_LABEL)


def test_signature_is_salted_afresh() -> None:
    assert private_key("one").sign(b"message") != private_key("one").sign(b"message")


def test_a_new_key_has_3072_bits_and_the_fixed_exponent() -> None:
    key = generate()
    assert key.public.bits == 3072
    assert foreign_public_exponent(key.public.spki) == 65537
    assert load_private(key.to_der()).public == key.public


def foreign_public_exponent(spki: bytes) -> int:
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    return load_der_public_key(spki).public_numbers().e


@pytest.mark.parametrize("bits", [1024, 2048, 3071, 8192])
def test_new_keys_of_other_sizes_are_not_made(bits: int) -> None:
    with pytest.raises(KeyFault, match="3072 or 4096"):
        generate(bits)


def test_keys_are_written_as_other_libraries_write_them() -> None:
    foreign, ours = foreign_key("one"), private_key("one")
    assert ours.public.spki == foreign.public_key().public_bytes(DER, SPKI)
    assert ours.public.to_pem() == foreign.public_key().public_bytes(PEM, SPKI)
    assert ours.to_der() == foreign.private_bytes(DER, PKCS8, PLAIN)
    assert load_public(ours.public.to_pem()) == load_public(ours.public.spki) == ours.public


def test_private_key_is_neither_printed_nor_pickled_nor_copied() -> None:
    key = private_key("one")
    assert str(key) == repr(key) == f"PrivateKey(RSA-2048, public {key.public.key_hash.hex()[:16]})"
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            attempt(key)


def test_the_other_library_refuses_our_damaged_signature_too() -> None:
    """Keeps the cross-check honest: a verifier that accepts everything would pass the tests above."""
    signature = bytearray(private_key("one").sign(b"message"))
    signature[0] ^= 1
    with pytest.raises(InvalidSignature):
        foreign_key("one").public_key().verify(bytes(signature), b"message", pss(32), hashes.SHA256())
