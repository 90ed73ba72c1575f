"""The recovery kit: a vault's private keys under a passphrase, and the page to print. Made and opened here only.

`recovery-key.pem` opens snapshots, `signing-key.pem` says who is who; both are PKCS #8 files that OpenSSL opens.
`kit.json` protects them against silent damage, `enrolment-key.json` is for whoever enrols machines, and
`vault-registration.json` is what the platform is given: it holds no secret.
"""

from __future__ import annotations

import base64
import datetime
import json
import secrets
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from agents.keys import kit_files
from agents.keys.derive import SECRET_SIZE
from agents.keys.enrollment_key import ENROLLMENT_KEY_FILE, EnrollmentKey
from agents.keys.faults import KeyFault, KitDamaged, KitFault, VaultRecordFault
from agents.keys.kit_manifest import KitManifest, read_manifest, write_manifest
from agents.keys.kit_page import render_page
from agents.keys.rsa import ROUNDS, PrivateKey, generate, load_private
from agents.keys.vault_record import VaultRecord, open_vault_record, sign_vault_record
from agents.keys.wrapped_secret import unwrap_secret, wrap_secret

MAX_NAME = 100


@dataclass(frozen=True, slots=True)
class Kit:
    """An opened kit. ``record`` and ``wrapped_secrets`` are the stored objects that the platform may have."""

    name: str
    opening: PrivateKey
    signing: PrivateKey
    vault_record: VaultRecord
    record: bytes = field(repr=False)
    wrapped_secrets: tuple[bytes, ...] = field(repr=False)
    enrollment: EnrollmentKey

    def registration(self) -> bytes:
        """Return the content of `vault-registration.json`."""
        values = {"record": _base64(self.record), "wrapped_secrets": [_base64(item) for item in self.wrapped_secrets]}
        return json.dumps(values, indent=2).encode("ascii") + b"\n"


def create_kit(
    directory: Path,
    passphrase: str,
    name: str,
    *,
    opening: PrivateKey | None = None,
    signing: PrivateKey | None = None,
    rounds: int = ROUNDS,
) -> Kit:
    """Make a vault: two keys, a dedup secret, the first vault record; write its kit to ``directory``.

    The directory is made, or must be empty; an existing kit is never overwritten (KitFault). Existing keys may be
    given. ``rounds`` of PBKDF2 are lowered by tests only.
    """
    _check_request(passphrase, name)
    directory = Path(directory)
    kit_files.prepare_directory(directory)
    kit = _new_kit(name, opening or generate(), signing or generate())
    kit_files.write_kit(directory, _contents(kit, passphrase, rounds))
    return kit


def open_kit(directory: Path, passphrase: str) -> Kit:
    """Return the kit in ``directory``. No key is used before every file was checked.

    KitFault when there is none, WrongPassphrase, or KitDamaged with the damaged file named.
    """
    manifest_bytes, files = kit_files.read_kit(Path(directory))
    manifest = read_manifest(manifest_bytes, files, passphrase)
    try:
        opening = load_private(files[kit_files.RECOVERY_KEY], passphrase)
        signing = load_private(files[kit_files.SIGNING_KEY], passphrase)
        return _kit(manifest.name, opening, signing, manifest.vault_record, manifest.wrapped_secrets)
    except (KeyFault, VaultRecordFault) as fault:
        raise KitDamaged(f"The kit's files do not belong together. {fault.what}") from None


def rebuild_kit(
    directory: Path, passphrase: str, name: str, *, keys: Path, registration: bytes, rounds: int = ROUNDS
) -> Kit:
    """Make a whole kit again from its two key files (typed from paper, say) and the vault's registration.

    ``keys``: the directory that holds `recovery-key.pem` and `signing-key.pem`. ``registration``: the content of
    `vault-registration.json`; the platform and every target keep what it says, and it proves itself under the signing
    key. KeyFault or WrongPassphrase for a key file, KitFault when registration and keys are not of one vault.
    """
    _check_request(passphrase, name)
    recovery, signing = (
        load_private(kit_files.read_key_file(Path(keys), file), passphrase) for file in kit_files.KEY_FILES
    )
    try:
        record, wrapped = _parse_registration(registration)
        kit = _kit(name, recovery, signing, record, wrapped)
    except (KeyFault, VaultRecordFault) as fault:
        raise KitFault(f"These keys and this registration do not belong to one vault. {fault.what}") from None
    kit_files.prepare_directory(Path(directory))
    kit_files.write_kit(Path(directory), _contents(kit, passphrase, rounds))
    return kit


def _parse_registration(data: bytes) -> tuple[bytes, tuple[bytes, ...]]:
    try:
        raw = json.loads(data)
        wrapped = tuple(base64.b64decode(item, validate=True) for item in raw["wrapped_secrets"])
        return base64.b64decode(raw["record"], validate=True), wrapped
    except (ValueError, KeyError, TypeError, RecursionError):
        raise KitFault("The vault's registration is damaged.", "Take it from the platform again.") from None


def _check_request(passphrase: str, name: str) -> None:
    if not passphrase:
        raise KitFault("A kit needs a passphrase.", "Without one, whoever finds the kit could open every snapshot.")
    if not 0 < len(name.strip()) <= MAX_NAME or not name.isprintable():
        raise KitFault(f"A vault's name has 1 to {MAX_NAME} printable characters.")


def _new_kit(name: str, opening: PrivateKey, signing: PrivateKey) -> Kit:
    vault_id = uuid.uuid4().bytes
    secret = secrets.token_bytes(SECRET_SIZE)
    record = sign_vault_record(
        signing, number=1, vault_id=vault_id, epoch=1, opening_key=opening.public, dedup_secret=secret
    )
    wrapped = wrap_secret(secret, vault_id=vault_id, epoch=1, recipient=opening.public)
    return _kit(name, opening, signing, record, (wrapped,))


def _kit(name: str, opening: PrivateKey, signing: PrivateKey, record: bytes, wrapped: tuple[bytes, ...]) -> Kit:
    """Put a kit together from its parts, each checked against the others."""
    vault_record = open_vault_record(record, signing.public.key_hash, 1)
    if vault_record.opening_key != opening.public:
        raise KeyFault("The recovery key is not the opening key of the vault record.")
    by_epoch = dict(unwrap_secret(item, opening, vault_id=vault_record.vault_id) for item in wrapped)
    if vault_record.epoch not in by_epoch:
        raise KeyFault("The dedup secret of the vault record's epoch is missing.")
    vault_record.check_secret(by_epoch[vault_record.epoch])
    enrollment = EnrollmentKey(
        vault_record.vault_id,
        vault_record.epoch,
        by_epoch[vault_record.epoch],
        signing.public.key_hash,
        vault_record.number,
    )
    return Kit(name, opening, signing, vault_record, record, wrapped, enrollment)


def _contents(kit: Kit, passphrase: str, rounds: int) -> dict[str, bytes]:
    """Return every file of the kit by name."""
    keys = {
        kit_files.RECOVERY_KEY: kit.opening.to_pem(passphrase, rounds),
        kit_files.SIGNING_KEY: kit.signing.to_pem(passphrase, rounds),
    }
    created_at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    manifest = KitManifest(kit.name, created_at, kit.record, kit.wrapped_secrets)
    return keys | {
        ENROLLMENT_KEY_FILE: kit.enrollment.to_json(),
        kit_files.REGISTRATION: kit.registration(),
        kit_files.PAGE: render_page(kit.name, created_at, kit.vault_record, keys),
        kit_files.MANIFEST: write_manifest(manifest, keys, passphrase, rounds),
    }


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")
