"""Machine records: which public keys are a machine's, vouched for by a MAC that only the vault's agents can make.

``prefix ‖ vault ‖ machine ‖ epoch u32 ‖ write-only u8 ‖ (length u16 ‖ identity key) ‖ (length u16 ‖ reading key) ‖
MAC 32 ‖ length u16 ‖ countersignature``. The record holds the keys whole, so that a target alone is enough to check
signatures. The countersignature of the kit's holder may be empty.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from protocol.stored.errors import FormatError
from protocol.stored.fields import DIGEST_SIZE, ID_SIZE, Fields, check_size, sized
from protocol.stored.prefix import PREFIX_SIZE, ObjectType, check_prefix, pack_prefix

MAX_KEY = 1024
"""An RSA-4096 SubjectPublicKeyInfo is 550 bytes."""
MAX_COUNTERSIGNATURE = 1024
MAX_MACHINE_RECORD = 4096


@dataclass(frozen=True, slots=True)
class MachineRecord:
    """A machine's keys (SubjectPublicKeyInfo, DER) and the MAC over them."""

    vault_id: bytes
    machine_id: bytes
    epoch: int
    write_only: bool
    identity_key: bytes
    reading_key: bytes
    mac: bytes = bytes(DIGEST_SIZE)
    countersignature: bytes = b""

    def authenticated(self) -> bytes:
        """Return what the MAC is made over: everything before it."""
        check_size(self.vault_id, ID_SIZE, "machine record", "vault id")
        check_size(self.machine_id, ID_SIZE, "machine record", "machine id")
        head = pack_prefix(ObjectType.MACHINE_RECORD) + self.vault_id + self.machine_id
        flags = self.epoch.to_bytes(4, "big") + bytes((self.write_only,))
        identity = sized(self.identity_key, 2, MAX_KEY, "machine record", "identity key")
        reading = sized(self.reading_key, 2, MAX_KEY, "machine record", "reading key")
        return head + flags + identity + reading

    def with_mac(self, mac: bytes) -> MachineRecord:
        """Return this record with its MAC."""
        return replace(self, mac=check_size(mac, DIGEST_SIZE, "machine record", "MAC"))

    def encode(self) -> bytes:
        """Return the record's bytes."""
        tail = sized(self.countersignature, 2, MAX_COUNTERSIGNATURE, "machine record", "countersignature")
        return self.authenticated() + self.mac + tail


def decode_machine_record(data: bytes) -> MachineRecord:
    """Read a machine record; its MAC is not checked here."""
    if len(data) > MAX_MACHINE_RECORD:
        raise FormatError("machine record", f"is {len(data)} bytes, over the limit of {MAX_MACHINE_RECORD}")
    check_prefix(data, ObjectType.MACHINE_RECORD)
    fields = Fields(data, "machine record", PREFIX_SIZE)
    vault_id = fields.take(ID_SIZE, "vault id")
    machine_id = fields.take(ID_SIZE, "machine id")
    epoch = fields.number(4, "epoch")
    write_only = fields.number(1, "write-only flag")
    if write_only > 1:
        raise FormatError("machine record", "its write-only flag is neither 0 nor 1")
    identity_key = fields.sized(2, MAX_KEY, "identity key")
    reading_key = fields.sized(2, MAX_KEY, "reading key")
    mac = fields.take(DIGEST_SIZE, "MAC")
    countersignature = fields.sized(2, MAX_COUNTERSIGNATURE, "countersignature")
    fields.end()
    return MachineRecord(
        vault_id, machine_id, epoch, bool(write_only), identity_key, reading_key, mac, countersignature
    )
