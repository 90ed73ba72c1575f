"""Machine records: which public keys are a machine's, vouched for by a MAC that only the vault's agents can make.

The server cannot make one. Server and one hostile agent of the same vault together can: docs/threat-model.md says so.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from blake3 import blake3

from agents.keys.derive import Use, derive
from agents.keys.faults import KeyFault, MachineRecordFault
from agents.keys.rsa import PublicKey, load_public
from protocol.stored.errors import FormatError
from protocol.stored.machine_records import MachineRecord, decode_machine_record


@dataclass(frozen=True, slots=True)
class TrustedMachine:
    """A machine whose record verified (ids 16 bytes)."""

    vault_id: bytes
    machine_id: bytes
    epoch: int
    write_only: bool
    identity_key: PublicKey
    reading_key: PublicKey


def make(
    *,
    vault_id: bytes,
    machine_id: bytes,
    epoch: int,
    write_only: bool,
    identity_key: PublicKey,
    reading_key: PublicKey,
    dedup_secret: bytes,
) -> bytes:
    """Return a machine record, its MAC made with the dedup secret of ``epoch``."""
    if identity_key == reading_key:
        raise MachineRecordFault("A machine's identity and reading keys must differ: a key has one use.")
    record = MachineRecord(vault_id, machine_id, epoch, write_only, identity_key.spki, reading_key.spki)
    return record.with_mac(_mac(record, dedup_secret)).encode()


def check(
    data: bytes, dedup_secret: bytes, *, vault_id: bytes | None = None, machine_id: bytes | None = None
) -> TrustedMachine:
    """Return the machine when its MAC matches under the dedup secret of its epoch.

    MachineRecordFault when the record is damaged, forged, or of another vault or machine than the ones given.
    """
    try:
        record = decode_machine_record(data)
        _check_mac(record, dedup_secret)
        identity_key, reading_key = load_public(record.identity_key), load_public(record.reading_key)
    except FormatError as fault:
        raise MachineRecordFault(f"The machine record is damaged: {fault.why}.") from None
    except KeyFault as fault:
        raise MachineRecordFault(f"A key in the machine record cannot be used: {fault.what}") from None
    if vault_id not in (None, record.vault_id):
        raise MachineRecordFault("The machine record belongs to another vault.")
    if machine_id not in (None, record.machine_id):
        raise MachineRecordFault("The machine record belongs to another machine.")
    return TrustedMachine(
        record.vault_id, record.machine_id, record.epoch, record.write_only, identity_key, reading_key
    )


def record_epoch(data: bytes) -> int:
    """Return the epoch whose dedup secret a record's MAC needs, unchecked; MachineRecordFault when damaged."""
    try:
        return decode_machine_record(data).epoch
    except FormatError as fault:
        raise MachineRecordFault(f"The machine record is damaged: {fault.why}.") from None


def _check_mac(record: MachineRecord, dedup_secret: bytes) -> None:
    if not hmac.compare_digest(_mac(record, dedup_secret), record.mac):
        raise MachineRecordFault("The machine record was altered, or not made by a machine of this vault.")


def _mac(record: MachineRecord, dedup_secret: bytes) -> bytes:
    return blake3(record.authenticated(), key=derive(dedup_secret, Use.MACHINE_RECORD)).digest()
