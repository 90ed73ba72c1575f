"""What is damaged, forged or hostile the independent reader refuses, and says what it was."""

from __future__ import annotations

import base64
import json
import os
import shutil
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from blake3 import blake3
from Crypto.Cipher import AES, PKCS1_OAEP
from Crypto.Hash import SHA256

from tests.end_to_end.stage import PASSPHRASE
from tests.independent import reader
from tests.independent.stored import Stored, flip

FLIPS = {
    "statement": ("*1-*.statement", 60, r"\.statement: is not what its name says"),
    "signature": ("*1-*.statement", -1, r"\.statement: is not what its name says"),
    "root": ("{id}.root", -1, r"\.root: is not the root that the statement names"),
    "recipient": ("{id}.recipients", 12, r"\.recipients: has no record for this key"),
    "wrapped key": ("{id}.recipients", 100, r"\.recipients: the root key does not open"),
    "machine record": ("machines/*.record", 60, r"\.record: MAC is not by the kit's secret"),
    "machine's MAC": ("machines/*.record", -3, r"\.record: MAC is not by the kit's secret"),
    "pack's header": ("*.pack", 30, r"\.pack: header or trailer is damaged"),
    "pack's prefix": ("*.pack", 5, r"\.pack: is not an object of type 1, version 1"),
    "trailer": ("*.pack", -40, r"\.pack: index does not have the trailer's digest"),
    "trailer's magic": ("*.pack", -1, r"\.pack: header or trailer is damaged"),
    "index": ("*.pack", -70, r"\.pack: index does not have the trailer's digest"),
    "sealed chunk": ("*.pack", 200_000, r"chunk [0-9a-f]{64}: no whole copy in \['[0-9a-f]{32}\.pack'\]"),
}


def test_flipped_bit_is_refused_by_name(stored: Stored, tmp_path: Path, subtests: pytest.Subtests):
    for what, (pattern, at, fault) in FLIPS.items():
        with subtests.test(what):
            files = stored.home.rglob(pattern.format(id=stored.statement(1).stem[21:]))
            file = max(files, key=lambda path: path.stat().st_size)
            flip(file, at)
            with pytest.raises(ValueError, match=fault):
                stored.restore(tmp_path / what)
            flip(file, at)
    assert stored.restore(tmp_path / "whole") == stored.was[1]


def test_pack_that_was_cut_is_refused_by_name(stored: Stored):
    pack = stored.one("*.pack")
    for size in (pack.stat().st_size - 1, 95, 1, 0):
        os.truncate(pack, size)
        with pytest.raises(ValueError, match=rf"{pack.name}: "):
            stored.open()


def test_changed_chunk_is_refused_even_when_pack_and_index_agree_with_it(stored: Stored, tmp_path: Path):
    pack = max(stored.home.rglob("*.pack"), key=lambda path: path.stat().st_size)
    data = bytearray(pack.read_bytes())
    start, count, _, _, _ = reader.TRAILER.unpack(data[-56:])
    for at in range(start, start + 77 * count, 77):
        kind, name, offset, length, _ = reader.INDEX.unpack_from(data, at)
        data[offset + length - 1] ^= 1
        digest = blake3(data[offset : offset + length]).digest()
        reader.INDEX.pack_into(data, at, kind, name, offset, length, digest)
        data[offset - 32 : offset] = digest
    data[-40:-8] = blake3(data[start:-56]).digest()
    pack.write_bytes(data)
    with pytest.raises(ValueError, match="MAC check failed"):
        stored.restore(tmp_path / "out")


def test_whole_copy_of_a_damaged_chunk_is_used(stored: Stored, tmp_path: Path):
    for pack in list((stored.home / "spool").rglob("*.pack")):
        copy = stored.statement(1).parents[2] / "packs" / pack.name[:2] / pack.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(pack, copy)
        flip(copy, 150)
    assert stored.restore(tmp_path / "out") == stored.was[1]


@pytest.mark.parametrize("at", [-1, 130])
def test_statement_that_the_machine_did_not_sign_is_refused_under_its_own_id_too(stored: Stored, at: int):
    statement, roots = stored.statement(1), stored.statement(1).parents[2] / "roots"
    flip(statement, at)
    forged = blake3(statement.read_bytes()).hexdigest()[:32]
    for suffix in (".root", ".recipients"):
        (roots / (statement.stem[21:] + suffix)).rename(roots / (forged + suffix))
    statement.rename(statement.with_name(f"{1:020}-{forged}.statement"))
    with pytest.raises(ValueError, match="Incorrect signature"):
        stored.open()


def test_chain_must_hold_and_may_have_gaps(stored: Stored, tmp_path: Path):
    first = stored.statement(1)
    flip(first, 55)
    with pytest.raises(ValueError, match=r"2-[0-9a-f]{32}\.statement: breaks the chain"):
        stored.open(2)
    first.unlink()
    assert stored.restore(tmp_path / "out", 2) == stored.was[2]


def test_machine_that_only_the_store_vouches_for_is_refused(stored: Stored):
    """Whoever knows the public half of the opening key can make a store that agrees with itself."""
    key, _ = reader.open_kit(stored.kit / "recovery-key.pem", PASSPHRASE)
    kit = json.loads((stored.kit / "kit.json").read_bytes())
    record = base64.b64decode(kit["wrapped_secrets"][0])
    cipher = PKCS1_OAEP.new(key.public_key(), SHA256, label=b"strongroom/v1/dedup-secret")
    kit["wrapped_secrets"] = [base64.b64encode(record[:62] + cipher.encrypt(bytes(32))).decode()]
    (stored.kit / "kit.json").write_text(json.dumps(kit))
    with pytest.raises(ValueError, match="MAC is not by the kit's secret"):
        stored.open()


def test_wrong_passphrase_opens_nothing(stored: Stored):
    with pytest.raises(ValueError, match=r"."):
        reader.open_kit(stored.kit / "recovery-key.pem", PASSPHRASE + "!")


class Told:
    """A snapshot that says whatever a hostile machine would."""

    def __init__(self, *entries: reader.Entry) -> None:
        self._entries = entries

    def entries(self) -> Iterator[reader.Entry]:
        return iter(self._entries)


def entry(path: bytes, kind: int, link: bytes = b"") -> reader.Entry:
    return reader.Entry(path, kind, 0o700, 0, 0, digest=blake3(b"").digest() if kind == reader.FILE else b"", link=link)


@pytest.mark.parametrize("path", [b"/../x", b"/a/../../x", b"/a//x", b"/a/", b"x", b"", b"/a\0b", b"/./x"])
def test_hostile_path_is_refused(tmp_path: Path, path: bytes):
    with pytest.raises(ValueError, match="is not a path to restore"):
        reader.restore(Told(entry(path, reader.FILE)), os.fsencode(tmp_path / "out"))  # type: ignore[arg-type]
    assert [made.name for made in tmp_path.rglob("*")] == ["out"]


def test_nothing_is_written_through_a_link(tmp_path: Path):
    outside, out = tmp_path / "outside", os.fsencode(tmp_path / "out")
    outside.mkdir()
    told = [
        entry(b"/a", reader.LINK, os.fsencode(outside)),
        entry(b"/a/b", reader.FILE),
        entry(b"/a/c", reader.LINK, b"x"),
    ]
    with pytest.raises(OSError, match="exists"):
        reader.restore(Told(*told), out)  # type: ignore[arg-type]
    assert not list(outside.iterdir())


def test_decompression_is_bounded(tmp_path: Path):
    plain = bytes(256 * 1024 * 1024)
    h, secret, vault = blake3(plain).digest(), bytes(range(32)), bytes(16)
    name = blake3(h, key=reader.derive("chunk-id", secret)).digest()
    cipher = AES.new(blake3(h, key=reader.derive("chunk-key", secret)).digest(), AES.MODE_GCM, bytes(12))
    cipher.update(b"\1\1" + vault + (7).to_bytes(4, "big") + name)
    body, tag = cipher.encrypt_and_digest(zstandard.compress(plain))
    sealed = b"\1\1" + bytes(12) + body + tag
    (tmp_path / "x.pack").write_bytes(sealed)
    snapshot = object.__new__(reader.Snapshot)
    snapshot.vault, snapshot.map = vault, {"secrets": {7: secret}}
    snapshot.places = {name: [(tmp_path / "x.pack", 0, len(sealed), blake3(sealed).digest())]}
    del plain
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="is not what h says"):
            snapshot._chunk(name, h)
        assert tracemalloc.get_traced_memory()[1] < 4 * reader.MAX_PLAIN
    finally:
        tracemalloc.stop()
