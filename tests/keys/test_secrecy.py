"""Nothing that holds a secret shows it: not printed, not formatted, not in an error, not through a debugger's dump."""

from __future__ import annotations

import base64
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from agents.engine.sealing import ChunkOpener, ChunkSealer, VaultSecrets
from agents.keys.enrollment import EnrollmentString, open_blob, seal_blob
from agents.keys.enrollment_key import EnrollmentKey
from agents.keys.kit import create_kit
from agents.keys.kit_manifest import _derive
from tests.keys.material import private_key

SECRET = bytes(range(200, 232))
VAULT = b"v" * 16
STRING = EnrollmentString("h.example", 1, SECRET, b"c" * 32, SECRET)
HELD = EnrollmentKey(VAULT, 1, SECRET, b"h" * 32, 1)

HOLDERS: dict[str, Callable[[Path], object]] = {
    "VaultSecrets": lambda _: VaultSecrets(VAULT, 1, SECRET),
    "ChunkSealer": lambda _: ChunkSealer(VaultSecrets(VAULT, 1, SECRET)),
    "ChunkOpener": lambda _: ChunkOpener(VAULT, {1: SECRET}),
    "EnrollmentString": lambda _: STRING,
    "EnrollmentKey": lambda _: HELD,
    "EnrollmentSecret": lambda _: open_blob(STRING, seal_blob(STRING, HELD), VAULT),
    "PrivateKey": lambda _: private_key("opening"),
    "Kit": lambda path: create_kit(
        path / "kit", "passphrase", "Office", opening=private_key("opening"), signing=private_key("signing"), rounds=10
    ),
    "the passphrase's keys": lambda _: _derive("passphrase", b"salt", 1),
}


def forms(secret: bytes) -> list[str]:
    encoded = [base64.b64encode(secret).decode(), base64.urlsafe_b64encode(secret).decode()]
    return [secret.hex(), repr(secret)[2:-1], str(list(secret))[1:-1], *(text.rstrip("=") for text in encoded)]


def secrets_of(holder: object) -> list[bytes]:
    """Return every secret that is in the holder, the derived ones too."""
    found = [SECRET]
    for sealer in (holder, *getattr(holder, "_sealers", [])):
        found += [value for name in ("_id_key", "_encryption_key", "mac_key") if (value := getattr(sealer, name, None))]
    for kit_key in (getattr(holder, "opening", None), holder):
        if kit_key is not None and hasattr(kit_key, "to_der"):
            found.append(kit_key.to_der()[300:340])
    if hasattr(holder, "enrollment"):
        found.append(holder.enrollment.dedup_secret)
    return found


@pytest.mark.parametrize("name", HOLDERS)
def test_what_holds_a_secret_does_not_show_it(name: str, tmp_path: Path) -> None:
    holder = HOLDERS[name](tmp_path)
    shown = f"{holder!r} {holder!s} {[holder]} {ValueError(holder)!r}"
    for secret in secrets_of(holder):
        assert not any(form in shown for form in forms(secret))


@pytest.mark.parametrize("name", ["VaultSecrets", "ChunkSealer", "PrivateKey"])
def test_what_holds_a_secret_is_not_pickled(name: str, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(HOLDERS[name](tmp_path))
