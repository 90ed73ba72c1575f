"""A bucket's credentials: they go in here, sealed, and come out only where the bucket is opened."""

from __future__ import annotations

from dataclasses import dataclass, field

from backup_platform.secret_box import SecretBox
from backup_platform.targets.errors import TargetRefused
from backup_platform.targets.models import Target

BOX = SecretBox("strongroom/v1/target-credentials", "The target's credentials")
MAX_LENGTH = 4096


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a bucket's owner gave us. Shown nowhere."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    session_token: str = field(default="", repr=False)


def sealed(target: Target, credentials: Credentials) -> bytes:
    """The credentials for `Target.sealed`, bound to the target's id. Raises TargetRefused for what can be none."""
    parts = {
        "access_key": credentials.access_key.strip(),
        "secret_key": credentials.secret_key.strip(),
        "session_token": credentials.session_token.strip(),
    }
    if not parts["access_key"] or not parts["secret_key"]:
        raise TargetRefused("A bucket needs an access key and a secret key.")
    if any(len(part) > MAX_LENGTH or not part.isascii() or not part.isprintable() for part in parts.values()):
        raise TargetRefused("The access key or the secret key holds characters that do not belong there.")
    return BOX.seal(target.pk, parts)


def opened(target: Target) -> Credentials:
    """The credentials of a target. Raises SecretUnreadable."""
    held = BOX.open(target.pk, bytes(target.sealed))
    return Credentials(held.get("access_key", ""), held.get("secret_key", ""), held.get("session_token", ""))
