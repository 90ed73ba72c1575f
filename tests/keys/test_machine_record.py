"""Machine records: made with the dedup secret, refused when anything in them is another."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.keys.faults import MachineRecordFault
from agents.keys.machine_record import check, make, record_epoch
from protocol.stored.machine_records import decode_machine_record
from tests.keys.material import private_key

VAULT, MACHINE, SECRET = b"v" * 16, b"m" * 16, b"s" * 32


def record(**changes: object) -> bytes:
    identity, reading = private_key("identity").public, private_key("reading").public
    values = {"vault_id": VAULT, "machine_id": MACHINE, "epoch": 2, "write_only": True, "dedup_secret": SECRET}
    return make(**({"identity_key": identity, "reading_key": reading} | values | changes))


RECORD = record()


def test_a_record_gives_the_machines_keys() -> None:
    machine = check(RECORD, SECRET, vault_id=VAULT, machine_id=MACHINE)
    assert (machine.vault_id, machine.machine_id, machine.epoch, machine.write_only) == (VAULT, MACHINE, 2, True)
    assert machine.identity_key == private_key("identity").public
    assert machine.reading_key == private_key("reading").public
    assert record_epoch(RECORD) == 2


def test_a_record_made_without_the_vaults_secret_is_refused() -> None:
    with pytest.raises(MachineRecordFault, match="not made by a machine of this vault"):
        check(record(dedup_secret=b"x" * 32), SECRET)


def test_the_servers_exchange_of_a_key_is_refused() -> None:
    forged = replace(decode_machine_record(RECORD), identity_key=private_key("evil").public.spki)
    with pytest.raises(MachineRecordFault, match="altered"):
        check(forged.encode(), SECRET)


def test_another_machines_or_vaults_record_is_refused() -> None:
    with pytest.raises(MachineRecordFault, match="another vault"):
        check(RECORD, SECRET, vault_id=b"w" * 16)
    with pytest.raises(MachineRecordFault, match="another machine"):
        check(RECORD, SECRET, machine_id=b"n" * 16)


def test_one_key_for_both_uses_is_refused() -> None:
    with pytest.raises(MachineRecordFault, match="must differ"):
        record(reading_key=private_key("identity").public)


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_a_record_with_any_byte_changed_is_refused(position: int, flip: int) -> None:
    damaged = bytearray(RECORD)
    damaged[position % len(damaged)] ^= flip
    with pytest.raises(MachineRecordFault):
        check(bytes(damaged), SECRET)
