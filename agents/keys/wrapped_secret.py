"""The dedup secret, wrapped to an opening key (kept in the store) or to a machine's reading key (a new epoch)."""

from __future__ import annotations

from agents.keys.derive import SECRET_SIZE
from agents.keys.faults import KeyFault
from agents.keys.rsa import DEDUP_SECRET_LABEL, PrivateKey, PublicKey
from protocol.stored.errors import FormatError
from protocol.stored.wrapped_secrets import WrappedSecret, decode_wrapped_secret


def wrap_secret(dedup_secret: bytes, *, vault_id: bytes, epoch: int, recipient: PublicKey) -> bytes:
    """Return the stored object that holds ``dedup_secret`` (32 bytes) for ``recipient`` only."""
    if len(dedup_secret) != SECRET_SIZE:
        raise ValueError(f"a dedup secret has {SECRET_SIZE} bytes")
    wrapped = recipient.wrap(dedup_secret, DEDUP_SECRET_LABEL)
    return WrappedSecret(vault_id, epoch, recipient.key_hash, wrapped).encode()


def unwrap_secret(data: bytes, private_key: PrivateKey, *, vault_id: bytes) -> tuple[int, bytes]:
    """Return (epoch, dedup secret); KeyFault when the object is damaged, another vault's or for another key.

    OAEP does not bind the epoch: what was opened is right only when it opens the chunks of that epoch.
    """
    try:
        wrapped = decode_wrapped_secret(data)
    except FormatError as fault:
        raise KeyFault(f"The wrapped dedup secret is damaged: {fault.why}.") from None
    if wrapped.vault_id != vault_id:
        raise KeyFault("The wrapped dedup secret belongs to another vault.")
    if wrapped.key_hash != private_key.public.key_hash:
        raise KeyFault("The dedup secret is wrapped to another key.")
    secret = private_key.unwrap(wrapped.wrapped, DEDUP_SECRET_LABEL)
    if len(secret) != SECRET_SIZE:
        raise KeyFault("What is wrapped is no dedup secret.")
    return wrapped.epoch, secret
