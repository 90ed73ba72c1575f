"""Whether a backup is the operator's own platform's: by what he keeps himself, never by what lies beside the backup."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from backup_platform.rebuilding.errors import RebuildRefused

from .head import Head, Said, Signature

OLD = timedelta(hours=36)
"""One is made a day; when the newest is older than this, a newer one may lie elsewhere or have been taken away."""
UNVERIFIED = (
    "WARNING: nobody vouches for this backup. Whoever knew the operator's public key and could write to where it lies "
    "may have made it: people with passwords of their choice, roles and targets. Look at them before you trust "
    "this platform, and before machines connect to it."
)


@dataclass(frozen=True, slots=True)
class Demands:
    """What the operator knows. `signers`: the keys that count, each with a number that it had reached."""

    signers: dict[bytes, int] = field(default_factory=dict)
    at_least: int = 0
    unverified: bool = False
    """He takes what nobody vouches for."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A backup that may be taken: whether it was proven, and what the operator is to be told and warned of."""

    proven: bool
    says: str
    warnings: tuple[str, ...] = ()


def judge(head: Head, demands: Demands, now: datetime) -> Verdict:
    """Decide before anything is opened. RebuildRefused: why it is not taken, and what to do."""
    if head.signature is None or head.said is None:
        return _unsigned(demands)
    if not head.signature.matches():
        raise RebuildRefused("The signature of this backup does not match: it was changed, or forged. Take another.")
    if head.signature.signer not in demands.signers:
        return _unknown(head.said, head.signature, demands)
    _refuse_lower(head.said, demands)
    warnings = _doubts(head.said, demands.signers[head.signature.signer], now)
    return Verdict(True, f"It is {words_of(head.said, head.signature)}, a key that you name.", warnings)


def words_of(said: Said, signature: Signature) -> str:
    """Number, time and signer, as people read them."""
    return f"number {said.number}, begun {said.time:%Y-%m-%d %H:%M} UTC, signed by {signature.signer.hex()}"


def _unsigned(demands: Demands) -> Verdict:
    if demands.at_least:
        raise RebuildRefused("This backup is not signed and has no number, so --at-least refuses it.")
    if not demands.unverified:
        raise RebuildRefused(
            "This backup is not signed: whoever knows the operator's public key and may write to where it lies can "
            "have made it. Take a signed one (--list tells them apart). Only if it is from before the platform signed "
            "its backups, and you know its time and size: --unverified takes it."
        )
    return Verdict(False, "It is not signed.", (UNVERIFIED,))


def _unknown(said: Said, signature: Signature, demands: Demands) -> Verdict:
    words = words_of(said, signature)
    if demands.signers:
        raise RebuildRefused(
            f"This backup is {words}, and that is none of the keys that you name: another platform's, or forged. Take "
            "another (--list shows who signed which). If your platform's key was replaced and you have its hash from "
            "the platform itself, give that with --signer."
        )
    if demands.at_least:
        raise RebuildRefused("Without the signer's hash nothing proves the number that --at-least asks for.")
    if not demands.unverified:
        raise RebuildRefused(
            f"This backup is {words}, and nothing here says whether that key is your platform's. Keep platform-signers"
            ".txt beside the operator's key, or give the hash that you noted with --signer. Do not take it from where "
            "the backup lies. If you never noted it, --unverified takes the backup as it is."
        )
    return Verdict(False, f"It is {words}, a key that nobody vouches for.", (UNVERIFIED,))


def _refuse_lower(said: Said, demands: Demands) -> None:
    if said.number < demands.at_least:
        raise RebuildRefused(
            f"This backup is number {said.number}, and --at-least asks for {demands.at_least}: newer ones were made. "
            "Look in the other targets; somebody may have taken them away here."
        )


def _doubts(said: Said, reached: int, now: datetime) -> tuple[str, ...]:
    found = []
    if said.number < reached:
        found.append(f"Your list of signers says that number {reached} was made already: this is an older one.")
    if now - said.time > OLD:
        days = (now - said.time).days
        found.append(f"It was begun {days} days ago, and one is made a day: look for a newer one in the other targets.")
    return tuple(found)
