"""The numbers of the platform's backups: each names the one before, so that an older one cannot pass for the newest.

They stand in a small file of the home. The dump of the database cannot hold them: whoever loads an old dump by hand
would count from there again.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path

from blake3 import blake3
from django.utils import timezone

from backup_platform.catalog import stores
from backup_platform.embedded.durable_files import write_private
from backup_platform.rebuilding.errors import RebuildRefused

from .head import EPOCH, FIRST_PREVIOUS, Head, Said, signed_head
from .one_at_a_time import alone
from .signing_key import signing_key

CHAIN = "platform-backups.json"
LEAP = 1000
"""How far the numbers leap when a platform comes back: later backups than the one it came from may lie in some target,
and no number is to be given twice."""
HIGHEST = 2**63
"""No file of ours says so much; what does was damaged, and would not fit into a head."""


@dataclass(frozen=True)
class Chain:
    """How far the numbers are. `head` is the BLAKE3 of the newest head, `told` the hash of the signing key that the
    operator was last told of; both in hex, "" for none."""

    number: int = 0
    head: str = ""
    told: str = ""


def chain() -> Chain:
    """What the home says; the beginning when it says nothing yet. RebuildRefused when its file is damaged."""
    path = _path()
    try:
        found = Chain(**json.loads(path.read_bytes()))
        counts = type(found.number) is int and 0 <= found.number < HIGHEST
        if not counts or any(len(bytes.fromhex(value)) not in (0, 32) for value in (found.head, found.told)):
            raise ValueError
    except FileNotFoundError:
        return Chain()
    except (ValueError, TypeError):
        raise RebuildRefused(
            f"{path} is damaged: it keeps the number of the platform's newest backup. Put it back from a copy, or "
            f'write {{"number": N}} with the number that `restore_platform --list` shows for the newest one.'
        ) from None
    except OSError as fault:
        raise RebuildRefused(f"{path} cannot be read: {fault.strerror}.") from None
    return found


def sign_next(operator: bytes, wrapped: bytes) -> tuple[bytes, int]:
    """The head of the next backup, signed, and its number, which is never given again whatever becomes of it."""
    with alone():
        before = chain()
        previous = bytes.fromhex(before.head) or FIRST_PREVIOUS
        said = Said(before.number + 1, (timezone.now() - EPOCH) // timedelta(microseconds=1), previous)
        head = signed_head(operator, wrapped, said, signing_key())
        _keep(replace(before, number=said.number, head=blake3(head).hexdigest()))
        return head, said.number


def go_on_after(head: Head) -> int:
    """The platform came back from a backup that it had signed itself: go on with its chain, after a leap; how far."""
    if head.said is None or head.signature is None:
        raise ValueError("only a signed backup has a number")
    with alone():
        number = max(head.said.number + LEAP, chain().number)
        _keep(Chain(number, head.digest.hex(), head.signature.signer.hex()))
        return number


def note_told(key_hash: bytes) -> None:
    """The operator was told the hash of the signing key, or has shown that he knows it."""
    with alone():
        _keep(replace(chain(), told=key_hash.hex()))


def is_told() -> bool:
    """Whether the operator knows the key that the platform signs with now. Makes the key if there is none yet."""
    return chain().told == signing_key().key_hash.hex()


def _keep(changed: Chain) -> None:
    write_private(_path(), json.dumps(asdict(changed)) + "\n")


def _path() -> Path:
    return stores.home() / CHAIN
