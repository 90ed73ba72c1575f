"""The kit's enrolment key file: what somebody who enrols machines of a vault must hold."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents.keys.faults import EnrollmentFault

ENROLLMENT_KEY_FILE = "enrolment-key.json"
MAX_KEY_FILE = 16 * 1024


@dataclass(frozen=True, slots=True)
class EnrollmentKey:
    """The dedup secret and what new machines must trust (ids 16 bytes, hashes and secrets 32). It opens no root."""

    vault_id: bytes
    epoch: int
    dedup_secret: bytes = field(repr=False)
    signing_key_hash: bytes
    vault_record_number: int

    def to_json(self) -> bytes:
        """Return the file's content, bytes as base64."""
        values = {
            "vault_id": _base64(self.vault_id),
            "epoch": self.epoch,
            "dedup_secret": _base64(self.dedup_secret),
            "signing_key_hash": _base64(self.signing_key_hash),
            "vault_record_number": self.vault_record_number,
        }
        return json.dumps(values, indent=2).encode("ascii") + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> EnrollmentKey:
        """Read the file's content; EnrollmentFault when it is damaged."""
        try:
            raw = json.loads(data)
            return cls(
                vault_id=_sized(raw["vault_id"], 16),
                epoch=_counted(raw["epoch"]),
                dedup_secret=_sized(raw["dedup_secret"], 32),
                signing_key_hash=_sized(raw["signing_key_hash"], 32),
                vault_record_number=_counted(raw["vault_record_number"]),
            )
        except (ValueError, KeyError, TypeError):
            raise EnrollmentFault(f"{ENROLLMENT_KEY_FILE} is damaged.", "Take it from the kit again.") from None

    @classmethod
    def read(cls, path: Path) -> EnrollmentKey:
        """Read the file, or the one in a kit's directory; EnrollmentFault when it is missing or damaged."""
        file = path / ENROLLMENT_KEY_FILE if path.is_dir() else path
        try:
            with file.open("rb") as stream:
                return cls.from_json(stream.read(MAX_KEY_FILE))
        except OSError as fault:
            raise EnrollmentFault(f"{file} cannot be read: {fault.strerror}.") from None


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _sized(text: Any, size: int) -> bytes:
    value = base64.b64decode(text, validate=True)
    if len(value) != size:
        raise ValueError("wrong size")
    return value


def _counted(number: Any) -> int:
    if type(number) is not int or number < 1:
        raise ValueError("not a counting number")
    return number
