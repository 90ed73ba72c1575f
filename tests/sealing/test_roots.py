"""Roots: sealed to exactly the recipients, opened only when key, header and record all belong together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from agents.engine import ciphers
from agents.engine.sealing import OpeningFault, SealedRoot, open_root, seal_root
from agents.keys.derive import Use, derive
from agents.keys.rsa import DEDUP_SECRET_LABEL, ROOT_LABEL, PrivateKey, load_private
from agents.keys.vault_record import NamedKey, open_vault_record, sign_vault_record
from protocol.stored.recipients import RecipientKind, RecipientRecord, decode_recipient
from protocol.stored.roots import (
    ROOT_HEADER_SIZE,
    RootBody,
    SegmentRef,
    decode_root,
    encode_root_body,
    encode_root_header,
)
from tests.keys.material import private_key

VECTORS = Path(__file__).parents[1] / "vectors" / "keys"
TENANT, VAULT, MACHINE = b"t" * 16, b"v" * 16, b"m" * 16
IDS = {"tenant_id": TENANT, "vault_id": VAULT, "epoch": 1, "machine_id": MACHINE, "sequence": 9}
BODY = RootBody(
    machine_name="web-1",
    sources=[b"/srv"],
    started_at=1,
    finished_at=2,
    secrets={1: b"s" * 32},
    segments=[SegmentRef(b"/srv/a", b"/srv/z", b"i" * 32, b"h" * 32, b"b" * 32, 100, 3)],
)
OPENING, READING = "opening", "reading"


def recipients(*names: str) -> list[NamedKey]:
    kinds = {OPENING: RecipientKind.VAULT, READING: RecipientKind.MACHINE}
    return [NamedKey(kinds.get(name, RecipientKind.FURTHER), private_key(name).public) for name in names]


def sealed(*names: str) -> SealedRoot:
    return seal_root(BODY, recipients=recipients(*(names or (OPENING, READING))), **IDS)


ROOT = sealed(OPENING, "auditor", READING)


@pytest.mark.parametrize("name", [OPENING, "auditor", READING])
def test_every_recipient_opens_the_root_alone(name: str) -> None:
    assert open_root(ROOT.file, ROOT.records, private_key(name)) == BODY
    own = [record for record in ROOT.records if decode_recipient(record).key_hash == private_key(name).public.key_hash]
    assert open_root(ROOT.file, own, private_key(name)) == BODY


def test_the_records_name_their_kind_their_key_and_their_root() -> None:
    records = [decode_recipient(record) for record in ROOT.records]
    assert [int(record.kind) for record in records] == [1, 3, 2]
    assert {record.root_hash for record in records} == {ROOT.digest} == {blake3(ROOT.file).digest()}


def test_the_header_says_what_it_was_given() -> None:
    header = decode_root(ROOT.file).header
    assert {name: getattr(header, name) for name in IDS} == IDS
    assert len(decode_root(ROOT.file).header_bytes) == ROOT_HEADER_SIZE


def test_nothing_of_the_content_is_in_clear() -> None:
    stored = ROOT.file + b"".join(ROOT.records)
    for secret in (b"s" * 32, b"h" * 32, b"web-1", b"/srv"):
        assert secret not in stored


def test_a_write_only_machine_cannot_open_its_own_roots() -> None:
    record = sign_vault_record(
        private_key("signing"), number=1, vault_id=VAULT, epoch=1, opening_key=private_key(OPENING).public
    )
    vault = open_vault_record(record, private_key("signing").public.key_hash, 1)
    root = seal_root(BODY, recipients=vault.recipients(None), **IDS)
    assert [int(decode_recipient(item).kind) for item in root.records] == [1]
    with pytest.raises(OpeningFault, match="not sealed to this key") as caught:
        open_root(root.file, root.records, private_key(READING))
    assert "write-only" in str(caught.value)
    assert open_root(root.file, root.records, private_key(OPENING)) == BODY


def test_a_key_that_is_named_twice_gets_one_record() -> None:
    assert len(sealed(OPENING, OPENING, READING).records) == 2


def test_a_root_that_nobody_could_open_is_not_made() -> None:
    with pytest.raises(ValueError, match="at least one recipient"):
        seal_root(BODY, recipients=[], **IDS)


def test_every_root_has_a_key_and_a_nonce_of_its_own() -> None:
    roots = [decode_root(seal_root(BODY, recipients=recipients(OPENING), **IDS).file) for _ in range(30)]
    assert len({root.nonce for root in roots}) == len({root.header.commitment for root in roots}) == 30


def test_a_root_with_any_byte_changed_is_refused() -> None:
    """Header fields, commitment, nonce, ciphertext and tag: the recipient record names the whole file's hash."""
    for position in range(len(ROOT.file)):
        damaged = bytearray(ROOT.file)
        damaged[position] ^= 1
        with pytest.raises(OpeningFault):
            open_root(bytes(damaged), ROOT.records, private_key(OPENING))


@pytest.mark.parametrize("position", [*range(8, ROOT_HEADER_SIZE), ROOT_HEADER_SIZE, ROOT_HEADER_SIZE + 20, -1])
def test_every_field_is_bound_even_when_the_records_are_made_to_fit(position: int) -> None:
    """A server can rewrite the root hash in a recipient record; header and body must hold without it."""
    damaged = bytearray(ROOT.file)
    damaged[position] ^= 1
    digest = blake3(bytes(damaged)).digest()
    fitting = [replace(decode_recipient(record), root_hash=digest).encode() for record in ROOT.records]
    with pytest.raises(OpeningFault):
        open_root(bytes(damaged), fitting, private_key(READING))


@pytest.mark.defence
def test_every_field_of_a_roots_header_is_bound_by_the_seal() -> None:
    """Records made to fit and a true commitment: what is left to notice is the seal itself."""
    made = sealed(OPENING)
    for position in range(8, ROOT_HEADER_SIZE - 32):  # tenant, vault, epoch, machine, number
        moved = bytearray(made.file)
        moved[position] ^= 1
        record = replace(decode_recipient(made.records[0]), root_hash=blake3(bytes(moved)).digest())
        with pytest.raises(OpeningFault, match="does not open"):
            open_root(bytes(moved), [record.encode()], private_key(OPENING))


def test_the_commitment_is_checked_before_anything_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """A root that commits to another key than the one wrapped, though AES-GCM opens under the wrapped one."""
    key, other = b"k" * 32, b"o" * 32
    header = encode_root_header(replace(decode_root(ROOT.file).header, commitment=derive(other, Use.ROOT_COMMITMENT)))
    file = header + bytes(12) + AESGCM(key).encrypt(bytes(12), encode_root_body(BODY), header)
    opened: list[object] = []
    decrypt = ciphers.decrypt
    monkeypatch.setattr(ciphers, "decrypt", lambda *parts: opened.append(parts) or decrypt(*parts))
    with pytest.raises(OpeningFault, match="commits to"):
        open_root(file, [wrapped(file, key)], private_key(OPENING))
    assert opened == []


def wrapped(file: bytes, key: bytes, label: bytes = ROOT_LABEL, to: str = OPENING) -> bytes:
    public = private_key(to).public
    return RecipientRecord(
        RecipientKind.VAULT, public.key_hash, blake3(file).digest(), public.wrap(key, label)
    ).encode()


def test_another_roots_record_is_refused() -> None:
    other = sealed()
    with pytest.raises(OpeningFault, match="belongs to another root"):
        open_root(ROOT.file, other.records, private_key(OPENING))


def test_a_record_for_another_use_or_of_another_length_is_refused() -> None:
    with pytest.raises(OpeningFault, match="does not open with its key"):
        open_root(ROOT.file, [wrapped(ROOT.file, b"k" * 32, DEDUP_SECRET_LABEL)], private_key(OPENING))
    with pytest.raises(OpeningFault, match="does not hold a root's key"):
        open_root(ROOT.file, [wrapped(ROOT.file, b"k" * 16)], private_key(OPENING))


def test_a_stranger_and_an_empty_list_of_records_are_told_plainly() -> None:
    with pytest.raises(OpeningFault, match="not sealed to this key"):
        open_root(ROOT.file, ROOT.records, private_key("evil"))
    with pytest.raises(OpeningFault, match="not sealed to this key"):
        open_root(ROOT.file, [], private_key(OPENING))


@pytest.mark.parametrize("records", [[b""], [b"STRM"], [ROOT.file]])
def test_what_is_no_record_is_refused(records: list[bytes]) -> None:
    with pytest.raises(OpeningFault, match="damaged"):
        open_root(ROOT.file, records, private_key(OPENING))


def test_every_truncation_of_a_root_is_refused() -> None:
    for cut in range(0, len(ROOT.file), 7):
        with pytest.raises(OpeningFault):
            open_root(ROOT.file[:cut], ROOT.records, private_key(READING))


def test_the_frozen_root_opens() -> None:
    """Made once without this program's code: one root and one private key are enough to have the secrets."""
    frozen = json.loads((VECTORS / "root.json").read_text())
    key: PrivateKey = load_private(bytes.fromhex(frozen["private_key"]))
    body = open_root(bytes.fromhex(frozen["root"]), [bytes.fromhex(frozen["record"])], key)
    assert (body.machine_name, body.sources, body.files) == ("frozen", [b"/etc"], 4)
    assert body.secrets == {3: bytes(range(32))}
    assert body.segments[0].hash == b"\x02" * 32
