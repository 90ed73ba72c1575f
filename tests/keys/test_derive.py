"""The table of derived keys, frozen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from blake3 import blake3

from agents.keys.derive import Use, derive

VECTORS = Path(__file__).parents[1] / "vectors" / "keys"


def test_every_use_derives_the_frozen_key() -> None:
    frozen = json.loads((VECTORS / "derive.json").read_text())
    secret = bytes.fromhex(frozen["secret"])
    assert {use.value: derive(secret, use).hex() for use in Use} == frozen["keys"]


def test_every_use_has_a_key_of_its_own() -> None:
    keys = {derive(bytes(32), use) for use in Use}
    assert len(keys) == len(Use)
    assert bytes(32) not in keys


def test_the_context_is_the_documented_one() -> None:
    assert derive(b"s" * 32, Use.CHUNK_ID) == blake3(b"s" * 32, derive_key_context="strongroom/v1/chunk-id").digest()


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_secret_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        derive(bytes(size), Use.CHUNK_ID)
