"""Proof of the kit: what the holder of a vault's signing key shows to read another machine's snapshots.

Signed are a context string, the gateway's nonce and the SHA-256 of its certificate (so that no gateway can use a proof
at another), the machine that asks and the scope asked for. No opening or reading key ever answers a challenge.
"""

from __future__ import annotations

from agents.keys.rsa import PrivateKey, PublicKey

KIT_PROOF_CONTEXT = b"strongroom/v1/kit-proof\0"


def sign_kit_proof(
    signing: PrivateKey, nonce: bytes, certificate_hash: bytes, caller_machine_id: bytes, scope: bytes
) -> bytes:
    """Return the proof. ``nonce`` and ``certificate_hash`` have 32 bytes, machine id and scope 16."""
    return signing.sign(kit_proof_message(nonce, certificate_hash, caller_machine_id, scope))


def verify_kit_proof(
    signing_key: PublicKey,
    signature: bytes,
    nonce: bytes,
    certificate_hash: bytes,
    caller_machine_id: bytes,
    scope: bytes,
) -> None:
    """Return when ``signature`` is the proof for exactly these values; SignatureFault otherwise."""
    signing_key.verify(kit_proof_message(nonce, certificate_hash, caller_machine_id, scope), signature)


def kit_proof_message(nonce: bytes, certificate_hash: bytes, caller_machine_id: bytes, scope: bytes) -> bytes:
    """Return the bytes that a proof signs; ValueError when a part has another length than the format's."""
    parts = ((nonce, 32), (certificate_hash, 32), (caller_machine_id, 16), (scope, 16))
    if any(len(value) != size for value, size in parts):
        raise ValueError("a kit proof binds a nonce and a hash of 32 bytes, a machine id and a scope of 16")
    return KIT_PROOF_CONTEXT + b"".join(value for value, _ in parts)
