"""The files of a platform's backup are frozen: what one release wrote, every later one reads.

They are sealed to the key of tests/vectors/keys/pbes2-key.pem; the signer's private key was thrown away.
"""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from agents.keys.rsa import PrivateKey, load_private
from backup_platform.rebuilding.platform_backup.envelope import LABEL, opened_pieces
from backup_platform.rebuilding.platform_backup.head import Said, read_head
from protocol.stored.errors import FormatError

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
SIGNER = "d8b15db5c6b08d820e3b6ab049794cb2daae10de879140ec616eefcfbecc9e07"
SIGNED = bytes.fromhex((VECTORS / "platform" / "signed.hex").read_text())
UNSIGNED = bytes.fromhex((VECTORS / "platform" / "unsigned.hex").read_text())


@pytest.fixture(scope="module")
def key() -> PrivateKey:
    return load_private((VECTORS / "keys" / "pbes2-key.pem").read_bytes(), "acorn-badger-canoe-delta-ember-fjord")


def content(data: bytes, key: PrivateKey) -> bytes:
    file = io.BufferedReader(io.BytesIO(data))
    head = read_head(file)
    return b"".join(opened_pieces(file, key.unwrap(head.wrapped, LABEL), head.digest))


def test_a_signed_backup_is_read(key: PrivateKey):
    head = read_head(io.BytesIO(SIGNED))
    assert head.operator == key.public.key_hash
    assert head.said == Said(7, 1_700_000_000_000_000, bytes([0xA1]) * 32)
    assert head.signature is not None
    assert head.signature.matches()
    assert head.signature.signer.hex() == SIGNER
    assert content(SIGNED, key) == b"what is sealed in a signed one"


def test_an_unsigned_backup_is_read(key: PrivateKey):
    head = read_head(io.BytesIO(UNSIGNED))
    assert (head.operator, head.said, head.signature) == (key.public.key_hash, None, None)
    assert content(UNSIGNED, key) == b"what is sealed in an unsigned one"


@pytest.mark.defence
def test_no_byte_of_a_signed_head_can_be_changed():
    """Every third is tried: it is refused as no head, or leaves a signature that does not match."""
    size = len(SIGNED) - (4 + 30 + 16)
    for at in range(8, size, 3):
        changed = SIGNED[:at] + bytes((SIGNED[at] ^ 1,)) + SIGNED[at + 1 :]
        try:
            signature = read_head(io.BytesIO(changed)).signature
        except FormatError:
            continue
        assert signature is not None
        assert not signature.matches(), at


@pytest.mark.parametrize("size", [0, 7, 41, 42, 500, 1_280])
def test_a_head_that_ends_too_early_is_refused(size: int):
    with pytest.raises(FormatError):
        read_head(io.BytesIO(SIGNED[:size]))


def test_a_signed_head_cannot_be_passed_off_as_an_unsigned_one(key: PrivateKey):
    """What would be left are a signature's bytes where pieces should begin, and pieces under another head."""
    with pytest.raises(FormatError):
        content(SIGNED[:6] + b"\1" + SIGNED[7:], key)
