"""Proof of the kit: whoever restores another machine's snapshots signs with the vault's signing key.

The server's half. The agent makes the signature in agents.keys, which the server never imports; what is signed is
fixed here and there by docs/wire-protocol.md.
"""

from __future__ import annotations

from .public_keys import signature_matches

KIT_PROOF_CONTEXT = b"strongroom/v1/kit-proof\0"
NONCE_SIZE = HASH_SIZE = 32
ID_SIZE = 16


def verify_kit_proof(
    signing_key: bytes, *, nonce: bytes, certificate_hash: bytes, caller: bytes, scope: bytes, signature: bytes
) -> bool:
    """Whether `signature` proves the kit for this connection.

    `signing_key` is the vault's (SPKI, DER); `nonce` the gateway's, 32 bytes; `certificate_hash` SHA-256 of the
    gateway's leaf (DER); `caller` the calling machine's id and `scope` the machine asked about, 16 bytes each.
    Values of another length prove nothing: cut differently, they could spell another message.
    """
    sizes = (len(nonce), len(certificate_hash), len(caller), len(scope))
    if sizes != (NONCE_SIZE, HASH_SIZE, ID_SIZE, ID_SIZE):
        return False
    return signature_matches(signing_key, KIT_PROOF_CONTEXT + nonce + certificate_hash + caller + scope, signature)
