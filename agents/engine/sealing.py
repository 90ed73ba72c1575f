"""Sealing and opening chunks and roots: the only module that sees both keys and plaintext.

A chunk's key follows from its content and the vault's dedup secret, so equal content seals under one key on every
machine of the vault; whoever knows neither ``h`` nor the secret learns nothing but the size. A root has a fresh random
key of its own, wrapped to each recipient.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

from blake3 import blake3

from agents.engine import ciphers
from agents.engine.codecs import LEVEL, Buffer, CodecFault, Compressor, decompress
from agents.errors import Damage
from agents.keys.derive import SECRET_SIZE, Use, derive
from agents.keys.faults import KeyFault
from agents.keys.rsa import ROOT_LABEL, PrivateKey, PublicKey
from protocol.stored.chunks import (
    CHUNK_VERSION,
    CODEC_STORED,
    CODEC_ZSTD,
    MAX_CHUNK_PLAIN,
    SealedChunk,
    chunk_aad,
    split_sealed,
)
from protocol.stored.errors import FormatError
from protocol.stored.recipients import RecipientKind, RecipientRecord, decode_recipient
from protocol.stored.roots import (
    MAX_ROOT,
    RootBody,
    RootFile,
    RootHeader,
    decode_root,
    decode_root_body,
    encode_root_body,
    encode_root_header,
)


class OpeningFault(Damage):
    """Something sealed does not open, or does not open to what it should be."""


@dataclass(frozen=True, slots=True)
class VaultSecrets:
    """The dedup secret of one epoch of a vault (ids 16 bytes, secret 32)."""

    vault_id: bytes
    epoch: int
    dedup_secret: bytes = field(repr=False)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a vault's secrets are not pickled or copied")


class ChunkSealer:
    """Names, seals and opens the chunks of one vault and epoch. Every method may be called from any thread."""

    def __init__(
        self, vault_secrets: VaultSecrets, *, level: int = LEVEL, nonces: ciphers.NonceSource = ciphers.fresh_nonce
    ) -> None:
        self.vault_id = vault_secrets.vault_id
        self.epoch = vault_secrets.epoch
        self._id_key = derive(vault_secrets.dedup_secret, Use.CHUNK_ID)
        self._encryption_key = derive(vault_secrets.dedup_secret, Use.CHUNK_KEY)
        self._compressor = Compressor(level)
        self._nonces = nonces

    def identify(self, plaintext: Buffer) -> tuple[bytes, bytes]:
        """Return (h, chunk id) of a chunk. ``h`` is a read capability: it is never logged or sent."""
        h = blake3(plaintext).digest()
        return h, self.chunk_id(h)

    def chunk_id(self, h: bytes) -> bytes:
        """Return the id of the chunk whose plaintext hash is ``h``."""
        return blake3(h, key=self._id_key).digest()

    def seal(self, plaintext: Buffer, h: bytes, chunk_id: bytes, compress: bool = True) -> bytes:
        """Return the sealed chunk; compressed only when asked for and when it pays. ValueError above 4 MiB."""
        if len(plaintext) > MAX_CHUNK_PLAIN:
            raise ValueError(f"a chunk holds at most {MAX_CHUNK_PLAIN} bytes, this one has {len(plaintext)}")
        codec, body = _encoded(plaintext, self._compressor if compress else None)
        nonce = self._nonces(ciphers.NONCE_SIZE)
        aad = chunk_aad(CHUNK_VERSION, codec, self.vault_id, self.epoch, chunk_id)
        return b"".join((aad[:2], nonce, ciphers.encrypt(self._key(h), nonce, body, aad)))

    def open(self, sealed: Buffer, chunk_id: bytes, h: bytes) -> bytes:
        """Return the plaintext of a chunk, its id, tag, size and hash all checked; OpeningFault otherwise."""
        if not hmac.compare_digest(self.chunk_id(h), chunk_id):
            raise OpeningFault("A chunk's id does not belong to its content in this vault and epoch.")
        try:
            parts = split_sealed(sealed)
            plaintext = self._decode(parts.codec, self._decrypt(parts, sealed, chunk_id, h))
        except FormatError as fault:
            raise OpeningFault(f"A stored chunk is damaged: {fault.why}.") from None
        except ciphers.CipherFault:
            raise OpeningFault("A stored chunk is damaged or is another one: it does not open.") from None
        except CodecFault as fault:
            raise OpeningFault(f"A stored chunk {fault}.") from None
        if not hmac.compare_digest(blake3(plaintext).digest(), h):
            raise OpeningFault("A stored chunk opens to something else than was backed up.")
        return plaintext

    def _key(self, h: bytes) -> bytes:
        return blake3(h, key=self._encryption_key).digest()

    def _decrypt(self, parts: SealedChunk, sealed: Buffer, chunk_id: bytes, h: bytes) -> bytes:
        aad = chunk_aad(parts.version, parts.codec, self.vault_id, self.epoch, chunk_id)
        body = memoryview(sealed)[2 + ciphers.NONCE_SIZE :]
        return ciphers.decrypt(self._key(h), parts.nonce, body, aad)

    @staticmethod
    def _decode(codec: int, body: bytes) -> bytes:
        if codec == CODEC_ZSTD:
            return decompress(body)
        if len(body) > MAX_CHUNK_PLAIN:
            raise CodecFault("is larger than a chunk may be")
        return body

    def __repr__(self) -> str:
        return f"ChunkSealer(vault {self.vault_id.hex()[:8]}, epoch {self.epoch})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a sealer holds keys and is not pickled or copied")


def _encoded(plaintext: Buffer, compressor: Compressor | None) -> tuple[int, Buffer]:
    if compressor is not None:
        frame = compressor.compress(plaintext)
        if len(frame) < len(plaintext):
            return CODEC_ZSTD, frame
    return CODEC_STORED, plaintext


class ChunkOpener:
    """Opens chunks of every epoch that a root names: a chunk's id tells which epoch's secret made it."""

    def __init__(self, vault_id: bytes, epoch_secrets: Mapping[int, bytes]) -> None:
        newest_first = sorted(epoch_secrets.items(), reverse=True)
        self._sealers = [ChunkSealer(VaultSecrets(vault_id, epoch, secret)) for epoch, secret in newest_first]

    def open(self, sealed: Buffer, chunk_id: bytes, h: bytes) -> bytes:
        """Return the plaintext of a chunk; OpeningFault when it does not open under any epoch's secret."""
        for sealer in self._sealers:
            if hmac.compare_digest(sealer.chunk_id(h), chunk_id):
                return sealer.open(sealed, chunk_id, h)
        raise OpeningFault("A chunk's id does not belong to its content in any epoch that the snapshot names.")

    def __repr__(self) -> str:
        return f"ChunkOpener({len(self._sealers)} epochs)"


class RootRecipient(Protocol):
    """Somebody whom a root is sealed to: a kind (1 vault, 2 machine, 3 further) and a public key."""

    @property
    def kind(self) -> int: ...

    @property
    def key(self) -> PublicKey: ...


class RootTooLarge(ValueError):
    """A manifest of so many segments, or with so long paths at their ends, that its root would outgrow its bound."""


@dataclass(frozen=True, slots=True)
class SealedRoot:
    """A root file, its BLAKE3 and its recipient records: all of it may be stored by anybody."""

    file: bytes
    digest: bytes
    records: list[bytes]


def seal_root(
    body: RootBody,
    *,
    tenant_id: bytes,
    vault_id: bytes,
    epoch: int,
    machine_id: bytes,
    sequence: int,
    recipients: Sequence[RootRecipient],
    nonces: ciphers.NonceSource = ciphers.fresh_nonce,
    keys: ciphers.NonceSource = secrets.token_bytes,
) -> SealedRoot:
    """Seal a root under a fresh key and wrap that key to every recipient, once each.

    The recipients come from a vault record that verified; a write-only machine's own reading key is not among them.
    ValueError without a recipient: nobody could ever open such a root.
    """
    if not recipients:
        raise ValueError("a root needs at least one recipient")
    key = keys(SECRET_SIZE)
    header = encode_root_header(
        RootHeader(tenant_id, vault_id, epoch, machine_id, sequence, derive(key, Use.ROOT_COMMITMENT))
    )
    nonce = nonces(ciphers.NONCE_SIZE)
    file = header + nonce + ciphers.encrypt(key, nonce, encode_root_body(body), header)
    if len(file) > MAX_ROOT:
        raise RootTooLarge(f"a root has at most {MAX_ROOT} bytes, this one has {len(file)}")
    digest = blake3(file).digest()
    return SealedRoot(file, digest, _wrap_to_all(key, digest, recipients))


def _wrap_to_all(key: bytes, root_hash: bytes, recipients: Sequence[RootRecipient]) -> list[bytes]:
    unique = {recipient.key.key_hash: recipient for recipient in reversed(recipients)}
    return [
        RecipientRecord(
            RecipientKind(recipient.kind), key_hash, root_hash, recipient.key.wrap(key, ROOT_LABEL)
        ).encode()
        for key_hash, recipient in reversed(unique.items())
    ]


def open_root(file: bytes, records: Sequence[bytes], private_key: PrivateKey) -> RootBody:
    """Return what a root says, opened with one recipient's private key; OpeningFault with the fault named otherwise.

    That the file is the one that a machine signed for is the statement's business: `agents.keys.statement`.
    """
    try:
        root = decode_root(file)
        key = _unwrap(blake3(file).digest(), records, private_key)
        # AES-GCM can open one ciphertext under two keys; the commitment in the header fixes which one is meant.
        if not hmac.compare_digest(derive(key, Use.ROOT_COMMITMENT), root.header.commitment):
            raise OpeningFault("The root's key is not the one that its header commits to.")
        return decode_root_body(_decrypt_root(root, key))
    except FormatError as fault:
        raise OpeningFault(f"The snapshot's root is damaged: {fault}.") from None


def _decrypt_root(root: RootFile, key: bytes) -> bytes:
    try:
        return ciphers.decrypt(key, root.nonce, root.ciphertext + root.tag, root.header_bytes)
    except ciphers.CipherFault:
        raise OpeningFault("The snapshot's root is damaged: it does not open.") from None


def _unwrap(root_hash: bytes, records: Sequence[bytes], private_key: PrivateKey) -> bytes:
    """Return the root's key out of the record that is addressed to ``private_key``."""
    addressed = [record for record in map(decode_recipient, records) if record.key_hash == private_key.public.key_hash]
    if not addressed:
        raise OpeningFault(
            "The snapshot is not sealed to this key.",
            "A write-only machine cannot read its snapshots: use the recovery kit.",
        )
    if addressed[0].root_hash != root_hash:
        raise OpeningFault("The recipient record belongs to another root, or the root is damaged.")
    try:
        key = private_key.unwrap(addressed[0].wrapped, ROOT_LABEL)
    except KeyFault:
        raise OpeningFault("The recipient record is damaged: it does not open with its key.") from None
    if len(key) != SECRET_SIZE:
        raise OpeningFault("The recipient record does not hold a root's key.")
    return key
