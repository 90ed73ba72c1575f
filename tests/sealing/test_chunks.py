"""Sealing chunks: known answers, every binding, and nothing that comes out without having been checked."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.engine.sealing import ChunkOpener, ChunkSealer, OpeningFault, VaultSecrets
from agents.errors import ExitCode
from agents.keys.derive import Use, derive
from protocol.stored.chunks import MAX_CHUNK_PLAIN, MAX_SEALED, SEALED_OVERHEAD, chunk_aad
from tests.sealing.test_codecs import rle_frame

VECTORS = Path(__file__).parents[1] / "vectors" / "keys"
VAULT, SECRET = b"v" * 16, b"s" * 32
SEALER = ChunkSealer(VaultSecrets(VAULT, 1, SECRET))
TEXT = b"Strongroom keeps what you give it. " * 20


def sealed_text(compress: bool = True) -> tuple[bytes, bytes, bytes]:
    h, chunk_id = SEALER.identify(TEXT)
    return SEALER.seal(TEXT, h, chunk_id, compress), chunk_id, h


def forged(body: bytes, codec: int, h: bytes, *, version: int = 1, epoch: int = 1) -> tuple[bytes, bytes]:
    """Return (sealed, chunk id) of any body, as somebody who holds the vault's secret could make it."""
    chunk_id = SEALER.chunk_id(h)
    key = blake3(h, key=derive(SECRET, Use.CHUNK_KEY)).digest()
    aad = chunk_aad(version, codec, VAULT, epoch, chunk_id)
    return bytes([version, codec]) + bytes(12) + AESGCM(key).encrypt(bytes(12), body, aad), chunk_id


def plain_of(case: dict[str, object]) -> bytes:
    repeat = case["repeat"]
    return bytes.fromhex(repeat[0]) * repeat[1] if repeat else bytes.fromhex(case["plaintext"])


@pytest.mark.parametrize("number", range(3))
def test_chunks_seal_to_the_frozen_bytes(number: int) -> None:
    frozen = json.loads((VECTORS / "chunks.json").read_text())
    case, nonce = frozen["cases"][number], bytes.fromhex(frozen["nonce"])
    secrets = VaultSecrets(bytes.fromhex(frozen["vault_id"]), frozen["epoch"], bytes.fromhex(frozen["dedup_secret"]))
    sealer, plaintext, sealed = (
        ChunkSealer(secrets, nonces=lambda _: nonce),
        plain_of(case),
        bytes.fromhex(case["sealed"]),
    )
    h, chunk_id = sealer.identify(plaintext)
    assert (h.hex(), chunk_id.hex()) == (case["h"], case["chunk_id"])
    assert sealer.open(sealed, chunk_id, h) == plaintext
    made = sealer.seal(plaintext, h, chunk_id)
    assert made[:14] == sealed[:14]
    if case["codec"] == 0:  # another zstd may compress another way; what it made opens all the same
        assert made == sealed


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=3000), st.booleans())
def test_every_chunk_opens_to_itself(plaintext: bytes, compress: bool) -> None:
    h, chunk_id = SEALER.identify(plaintext)
    assert SEALER.open(SEALER.seal(plaintext, h, chunk_id, compress), chunk_id, h) == plaintext


@pytest.mark.parametrize(
    "plaintext", [b"", b"x", os.urandom(65_536), bytes(MAX_CHUNK_PLAIN), os.urandom(MAX_CHUNK_PLAIN)]
)
@pytest.mark.parametrize("compress", [True, False])
def test_chunks_of_every_size_open_and_stay_in_bounds(plaintext: bytes, compress: bool) -> None:
    for given_as in (plaintext, bytearray(plaintext), memoryview(plaintext)):
        h, chunk_id = SEALER.identify(given_as)
        sealed = SEALER.seal(given_as, h, chunk_id, compress)
        assert len(sealed) <= min(len(plaintext) + SEALED_OVERHEAD, MAX_SEALED)
        assert SEALER.open(memoryview(sealed), chunk_id, h) == plaintext


def test_more_than_a_chunk_may_hold_is_not_sealed() -> None:
    with pytest.raises(ValueError, match="at most"):
        SEALER.seal(bytes(MAX_CHUNK_PLAIN + 1), bytes(32), bytes(32))


def test_compression_is_used_only_when_asked_for_and_when_it_pays() -> None:
    assert sealed_text(compress=True)[0][1] == 1
    assert sealed_text(compress=False)[0][1] == 0
    noise = os.urandom(5000)
    assert SEALER.seal(noise, *SEALER.identify(noise), True)[1] == 0


def test_equal_content_has_equal_ids_on_every_machine_of_the_vault_and_nowhere_else() -> None:
    same = ChunkSealer(VaultSecrets(VAULT, 1, SECRET))
    assert same.identify(TEXT) == SEALER.identify(TEXT)
    other = ChunkSealer(VaultSecrets(VAULT, 1, b"t" * 32))
    assert other.identify(TEXT)[0] == SEALER.identify(TEXT)[0]
    assert other.identify(TEXT)[1] != SEALER.identify(TEXT)[1]


def test_the_id_shows_neither_the_hash_nor_the_content() -> None:
    sealed, chunk_id, h = sealed_text(compress=False)
    assert h not in sealed + chunk_id
    assert TEXT[:16] not in sealed


def test_every_nonce_is_used_once() -> None:
    """Two seals of one chunk share a key, so their nonces must differ."""
    h, chunk_id = SEALER.identify(b"the same")
    nonces = [SEALER.seal(b"the same", h, chunk_id)[2:14] for _ in range(5000)]
    assert len(set(nonces)) == len(nonces)


@pytest.mark.parametrize("compress", [True, False])
def test_a_chunk_with_any_byte_changed_is_refused(compress: bool) -> None:
    sealed, chunk_id, h = sealed_text(compress)
    for position in range(len(sealed)):  # version, codec, nonce, ciphertext and tag alike
        damaged = bytearray(sealed)
        damaged[position] ^= 1
        with pytest.raises(OpeningFault) as caught:
            SEALER.open(bytes(damaged), chunk_id, h)
        assert caught.value.exit_code == ExitCode.DAMAGE


def test_a_chunk_of_any_other_length_is_refused() -> None:
    sealed, chunk_id, h = sealed_text()
    for length in range(len(sealed)):
        with pytest.raises(OpeningFault):
            SEALER.open(sealed[:length], chunk_id, h)
    with pytest.raises(OpeningFault):
        SEALER.open(sealed + b"\0", chunk_id, h)
    with pytest.raises(OpeningFault, match="out of bounds"):
        SEALER.open(bytes(MAX_SEALED + 1), chunk_id, h)


@pytest.mark.parametrize(
    "secrets",
    [VaultSecrets(b"w" * 16, 1, SECRET), VaultSecrets(VAULT, 2, SECRET), VaultSecrets(VAULT, 1, b"t" * 32)],
    ids=["vault id", "epoch", "dedup secret"],
)
def test_a_chunk_does_not_open_in_another_vault_or_epoch(secrets: VaultSecrets) -> None:
    sealed, chunk_id, h = sealed_text()
    with pytest.raises(OpeningFault):
        ChunkSealer(secrets).open(sealed, chunk_id, h)


def test_a_chunk_does_not_open_under_another_id_or_hash() -> None:
    sealed, chunk_id, h = sealed_text()
    other_h, other_id = SEALER.identify(b"another chunk")
    for wrong_id, wrong_h in (
        (other_id, h),
        (chunk_id, other_h),
        (other_id, other_h),
        (bytes(32), h),
        (chunk_id, bytes(32)),
    ):
        with pytest.raises(OpeningFault):
            SEALER.open(sealed, wrong_id, wrong_h)


OTHERS = {"version": 2, "codec": 1, "vault id": b"w" * 16, "epoch": 2, "chunk id": b"o" * 32}


@pytest.mark.defence
@pytest.mark.parametrize("field", OTHERS)
def test_every_field_of_the_associated_data_is_bound_by_itself(field: str) -> None:
    """The right content under the right key, sealed for another place: only the associated data can tell."""
    h, chunk_id = SEALER.identify(TEXT)
    key = blake3(h, key=derive(SECRET, Use.CHUNK_KEY)).digest()
    bound = {"version": 1, "codec": 0, "vault id": VAULT, "epoch": 1, "chunk id": chunk_id}

    def sealed_for(place: dict[str, object]) -> bytes:
        return bytes([1, 0]) + bytes(12) + AESGCM(key).encrypt(bytes(12), TEXT, chunk_aad(*place.values()))

    assert SEALER.open(sealed_for(bound), chunk_id, h) == TEXT
    with pytest.raises(OpeningFault, match="does not open"):
        SEALER.open(sealed_for(bound | {field: OTHERS[field]}), chunk_id, h)


def test_a_chunk_sealed_under_an_id_that_is_not_its_contents_is_refused() -> None:
    """A hostile machine can seal any content under any id; then the id would promise content that it does not name."""
    h, other_id = SEALER.identify(TEXT)[0], SEALER.identify(b"another chunk")[1]
    sealed = SEALER.seal(TEXT, h, other_id)
    with pytest.raises(OpeningFault, match="id does not belong to its content"):
        SEALER.open(sealed, other_id, h)


def test_another_chunk_in_its_place_is_refused() -> None:
    """A store that answers with an intact chunk, only not the one that was asked for."""
    _, chunk_id, h = sealed_text()
    other = b"another chunk"
    with pytest.raises(OpeningFault, match="does not open"):
        SEALER.open(SEALER.seal(other, *SEALER.identify(other)), chunk_id, h)


def test_what_a_hostile_machine_of_the_vault_sealed_under_a_wrong_id_is_refused() -> None:
    """It holds every key, so the AEAD opens; only the hash of what came out tells."""
    sealed, chunk_id = forged(b"poison", 0, SEALER.identify(TEXT)[0])
    with pytest.raises(OpeningFault, match="something else than was backed up"):
        SEALER.open(sealed, chunk_id, SEALER.identify(TEXT)[0])


@pytest.mark.parametrize("claimed", [1 << 40, MAX_CHUNK_PLAIN + 1, 1000, 0])
def test_a_bomb_that_a_hostile_machine_sealed_is_refused(claimed: int) -> None:
    sealed, chunk_id = forged(rle_frame(claimed, 40_000), 1, bytes(32))
    with pytest.raises(OpeningFault, match="chunk"):
        SEALER.open(sealed, chunk_id, bytes(32))


def test_a_stored_chunk_above_the_limit_is_refused() -> None:
    sealed, chunk_id = forged(bytes(MAX_CHUNK_PLAIN + 1), 0, bytes(32))
    with pytest.raises(OpeningFault, match="larger than a chunk"):
        SEALER.open(sealed, chunk_id, bytes(32))


@pytest.mark.parametrize(("version", "codec"), [(0, 0), (2, 0), (1, 2), (1, 255)])
def test_versions_and_codecs_of_another_time_are_refused_by_name(version: int, codec: int) -> None:
    sealed, chunk_id = forged(b"later", codec, bytes(32), version=version)
    with pytest.raises(OpeningFault, match=r"version|codec"):
        SEALER.open(sealed, chunk_id, bytes(32))


def test_no_fault_repeats_the_hash_or_the_content() -> None:
    sealed, chunk_id, h = sealed_text()
    for attempt in ((sealed[:-1], chunk_id, h), (sealed, bytes(32), h), (b"", chunk_id, h)):
        with pytest.raises(OpeningFault) as caught:
            SEALER.open(*attempt)
        assert h.hex() not in str(caught.value)
        assert caught.value.__cause__ is None


def test_chunks_of_every_epoch_open_with_what_a_root_holds() -> None:
    later = ChunkSealer(VaultSecrets(VAULT, 2, b"t" * 32))
    opener = ChunkOpener(VAULT, {1: SECRET, 2: b"t" * 32})
    for sealer in (SEALER, later):
        h, chunk_id = sealer.identify(TEXT)
        assert opener.open(sealer.seal(TEXT, h, chunk_id), chunk_id, h) == TEXT
    stranger = ChunkSealer(VaultSecrets(VAULT, 3, b"u" * 32))
    h, chunk_id = stranger.identify(TEXT)
    with pytest.raises(OpeningFault, match="any epoch"):
        opener.open(stranger.seal(TEXT, h, chunk_id), chunk_id, h)


def test_one_sealer_serves_many_threads_at_once() -> None:
    wrong: list[int] = []

    def work(number: int) -> None:
        for round_ in range(25):
            plaintext = bytes([number, round_]) * 20_000 + os.urandom(1000)
            h, chunk_id = SEALER.identify(plaintext)
            if SEALER.open(SEALER.seal(plaintext, h, chunk_id), chunk_id, h) != plaintext:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert wrong == []
