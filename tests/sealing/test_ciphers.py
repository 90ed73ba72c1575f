"""AES-256-GCM: agrees with pycryptodome and a published vector, and takes no other sizes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from Crypto.Cipher import AES
from hypothesis import given
from hypothesis import strategies as st

from agents.engine.ciphers import CipherFault, decrypt, encrypt, fresh_nonce

AGENTS = Path(__file__).parents[2] / "agents"
KEY, NONCE = bytes(range(32)), bytes(range(12))


def test_the_published_test_case_16_holds() -> None:
    """McGrew and Viega, The Galois/Counter Mode of Operation, appendix B, test case 16 (AES-256, with aad)."""
    key = bytes.fromhex("feffe9928665731c6d6a8f9467308308" * 2)
    aad = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
    plaintext = bytes.fromhex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
    )
    sealed = bytes.fromhex(
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
        "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b"
    )
    nonce = bytes.fromhex("cafebabefacedbaddecaf888")
    assert encrypt(key, nonce, plaintext, aad) == sealed
    assert decrypt(key, nonce, sealed, aad) == plaintext


@given(plaintext=st.binary(max_size=300), aad=st.binary(max_size=80))
def test_it_agrees_with_pycryptodome_in_both_directions(plaintext: bytes, aad: bytes) -> None:
    other = AES.new(KEY, AES.MODE_GCM, nonce=NONCE, mac_len=16)
    other.update(aad)
    ciphertext, tag = other.encrypt_and_digest(plaintext)
    assert encrypt(KEY, NONCE, plaintext, aad) == ciphertext + tag
    assert decrypt(KEY, NONCE, ciphertext + tag, aad) == plaintext


@pytest.mark.parametrize(("key", "nonce"), [(16, 12), (24, 12), (0, 12), (32, 16), (32, 8), (32, 0)])
def test_other_sizes_of_key_and_nonce_are_refused(key: int, nonce: int) -> None:
    with pytest.raises(ValueError, match="key of 32 bytes and a nonce of 12"):
        encrypt(bytes(key), bytes(nonce), b"", b"")
    with pytest.raises(ValueError, match="key of 32 bytes and a nonce of 12"):
        decrypt(bytes(key), bytes(nonce), bytes(16), b"")


@pytest.mark.parametrize("sealed", [b"", b"short", bytes(16), bytes(40)])
def test_what_was_not_sealed_is_refused(sealed: bytes) -> None:
    with pytest.raises(CipherFault):
        decrypt(KEY, NONCE, sealed, b"")


def test_nonces_are_twelve_bytes_and_never_the_same() -> None:
    nonces = {fresh_nonce(12) for _ in range(20_000)}
    assert len(nonces) == 20_000
    assert {len(nonce) for nonce in nonces} == {12}


def test_no_other_module_of_the_agent_makes_ciphers() -> None:
    """A second place that makes ciphers is where a default nonce, a short tag or a reused key would slip in."""
    makers = re.compile(r"AESGCM|AES\.new|Crypto\.Cipher import (?!PKCS1_OAEP)|ChaCha20|Fernet|MODE_[A-Z]{3}|modes\.")
    found = {path.name for path in AGENTS.rglob("*.py") if makers.search(path.read_text(encoding="utf-8"))}
    assert found == {"ciphers.py"}
