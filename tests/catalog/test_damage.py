"""What a damaged, cut, missing or swapped pack leads to, who finds it, and how it is healed."""

from __future__ import annotations

import io
import json
from contextlib import suppress

import pytest
from django.core.management import call_command
from django.db import connection

from backup_platform.catalog import arrivals, completion, deduplication, present, scrubbing, stores
from backup_platform.catalog.errors import RecordUnavailable
from backup_platform.catalog.models import Pack, Session, Snapshot, Wanted
from backup_platform.catalog.reading import PackReader
from backup_platform.catalog.verification import verify_pack
from backup_platform.storage.faulty import Failure, Fault, FaultyStore
from backup_platform.vaults.models import Vault
from tests.catalog.stage import (
    CHUNK,
    Backup,
    PackFile,
    block_of,
    contents,
    digest,
    make_machine,
    overwrite,
    pack_path,
    run_jobs,
    state_of,
)


def scrub() -> tuple[int, dict]:
    """The command's exit code and its summary line."""
    output, code = io.StringIO(), 0
    try:
        call_command("scrub", "--json", stdout=output)
    except SystemExit as end:
        code = end.code
    return code, json.loads(output.getvalue().splitlines()[-1])


def spoil_record(pack: Pack, content: bytes) -> None:
    path = pack_path(pack)
    overwrite(path, path.read_bytes().index(content), b"\xff" + bytes([content[1] ^ 1]))


def cut(pack: Pack, content: bytes) -> None:
    path = pack_path(pack)
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.truncate(path.read_bytes().index(content) + 10)


def remove(pack: Pack, content: bytes) -> None:
    pack_path(pack).unlink()


def swap(pack: Pack, content: bytes) -> None:
    """A sound pack of the same id and vault, in which only the content differs."""
    forged = PackFile(pack.vault, pack.uid)
    whole = pack_path(pack).read_bytes()
    for arrival in _all_rows(pack):
        sealed = whole[arrival[2] : arrival[2] + arrival[3]]
        forged.append(arrival[1], sealed[::-1] if sealed == content else sealed, arrival[0])
    forged.seal()
    overwrite(pack_path(pack), 0, forged.path.with_suffix(".pack").read_bytes())


def _all_rows(pack: Pack) -> list[tuple]:
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT id, kind, "offset", length FROM catalog_arrival WHERE pack = %s UNION ALL
               SELECT id, kind, "offset", length FROM catalog_chunk WHERE pack = %s ORDER BY 3""",
            [pack.pk, pack.pk],
        )
        return [(bytes(row[0]), *row[1:]) for row in cursor]


HARMS = [spoil_record, cut, remove, swap]


@pytest.mark.parametrize("harm", HARMS)
def test_verify_finds_it_and_the_snapshot_is_never_called_good(backup, vault, machine, harm):
    data = contents(4)
    committed = backup.run(data)
    harm(Pack.objects.get(), data[3])
    generation = vault.generation
    run_jobs()
    assert state_of(committed) == "damaged"
    assert Pack.objects.get().state == "damaged"
    assert Vault.objects.get(pk=vault.pk).generation > generation
    assert digest(data[3]) in present.missing_ids(vault.number, [digest(c) for c in data])
    wanted = {bytes(w) for w in Wanted.objects.filter(machine=machine).values_list("chunk_id", flat=True)}
    assert digest(data[3]) in wanted


@pytest.mark.parametrize("harm", HARMS)
def test_scrub_finds_it_later_and_names_pack_and_snapshot(backup, vault, harm):
    data = contents(4)
    committed = backup.run(data)
    run_jobs()
    assert scrub()[0] == 0
    pack = Pack.objects.get()
    harm(pack, data[3])
    code, summary = scrub()
    assert code == 20
    assert summary["damaged_packs"] == [pack.uid.hex]
    assert summary["damaged_snapshots"] == [committed.snapshot.hex]
    assert state_of(committed) == "damaged"


def test_good_records_of_a_damaged_pack_go_on(backup, vault):
    data = contents(4)
    backup.run(data)
    spoil_record(Pack.objects.get(), data[0])
    run_jobs()
    assert present.missing_ids(vault.number, [digest(c) for c in data]) == {digest(data[0])}


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("after_verification", [False, True])
def test_sending_the_wanted_ids_again_heals_the_snapshot(backup, machine, vault, harm, after_verification):
    data = contents(4)
    committed = backup.run(data)
    if after_verification:
        run_jobs()
    harm(Pack.objects.get(), data[2])
    scrub()
    run_jobs()
    assert state_of(committed) == "damaged"
    begun = backup.begin()
    by_id = {digest(c): (CHUNK, c) for c in data} | {digest(block_of(data)): (2, block_of(data))}
    backup.send_records([by_id[record_id] for record_id in begun.wanted])
    run_jobs()
    assert state_of(committed) == "verified"
    assert not Wanted.objects.exists()
    found = {f.id: f.record.sealed for f in PackReader(vault.number).read([digest(c) for c in data])}
    assert found == {digest(c): c for c in data}


def test_a_healed_record_is_no_damage_any_more(backup, vault):
    data = contents(4)
    backup.run(data)
    run_jobs()
    spoil_record(Pack.objects.get(), data[2])
    assert scrub()[0] == 20
    backup.begin()
    backup.send_records([(CHUNK, data[2])])
    run_jobs()
    assert scrub()[0] == 0


def test_a_spare_takes_over_and_nothing_is_lost(backup, vault):
    data = contents(3)
    backup.begin()
    other = Backup(make_machine(vault, "beta"))
    other.begin()
    for one in (backup, other):
        one.send_records([(CHUNK, c) for c in data] + [(2, block_of(data))])
    committed = backup.propose(data).send(backup.machine, backup.begun)
    run_jobs()
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM catalog_spare")
        assert cursor.fetchone()[0] == 4
        cursor.execute("SELECT pack FROM catalog_chunk WHERE id = %s", [digest(data[0])])
        holder = Pack.objects.get(pk=cursor.fetchone()[0])
    spoil_record(holder, data[0])
    code, summary = scrub()
    assert (code, summary["damaged_snapshots"]) == (20, [])
    assert state_of(committed) == "verified"
    assert PackReader(vault.number).read_one(digest(data[0])).sealed == data[0]
    assert scrub()[0] == 0, "the damage lies in a copy that nobody looks for"


def test_a_reader_uses_the_spare_before_anybody_has_noticed(backup, vault):
    data = contents(1)
    backup.begin()
    other = Backup(make_machine(vault, "beta"))
    other.begin()
    packs = [one.send_records([(CHUNK, data[0])]) for one in (backup, other)]
    run_jobs()
    spoil_record(packs[0], data[0])
    assert PackReader(vault.number).read_one(digest(data[0])).sealed == data[0]


def test_a_pack_that_an_operator_brings_back_is_believed_again(backup, vault):
    data = contents(3)
    committed = backup.run(data)
    run_jobs()
    pack = Pack.objects.get()
    path = pack_path(pack)
    kept = path.read_bytes()
    path.unlink()
    assert scrub()[0] == 20
    path.write_bytes(kept)
    assert scrub()[0] == 0
    assert state_of(committed) == "verified"
    assert Pack.objects.get().state == "verified"


@pytest.mark.parametrize("suffix", ["root", "recipients", "statement"])
@pytest.mark.parametrize("how", ["spoilt", "removed"])
def test_a_damaged_object_of_a_snapshot_makes_it_damaged(backup, suffix, how):
    committed = backup.run(contents(1))
    run_jobs()
    key = next(key for key in stores.local_target().list() if key.endswith(suffix))
    path = stores.home() / "store" / key
    if how == "spoilt":
        overwrite(path, 50, b"spoilt")
    else:
        path.unlink()
    code, summary = scrub()
    assert (code, summary["damaged_snapshots"]) == (20, [committed.snapshot.hex])
    assert state_of(committed) == "damaged"


def test_a_root_that_is_damaged_before_verification_is_found_by_completion(backup):
    committed = backup.run(contents(1))
    key = next(key for key in stores.local_target().list() if key.endswith("root"))
    overwrite(stores.home() / "store" / key, 50, b"spoilt")
    run_jobs()
    assert state_of(committed) == "damaged"


def test_a_damaged_standing_record_is_named(backup):
    backup.run(contents(1))
    key = next(key for key in stores.local_target().list() if "/machines/" in key)
    (stores.home() / "store" / key).unlink()
    code, summary = scrub()
    assert code == 20
    assert len(summary["damaged_records"]) == 1


def test_a_row_without_bytes_counts_as_missing_and_is_wanted(backup, machine, vault):
    backup.begin()
    pack = backup.send_records([(CHUNK, c) for c in (b"one", b"two")], seal=False)
    for _ in range(2):
        arrivals.report_loss(pack.pk, [digest(b"two")])
    assert present.missing_ids(vault.number, [digest(b"one"), digest(b"two")]) == {digest(b"two")}
    assert bytes(Wanted.objects.get().chunk_id) == digest(b"two")
    assert Pack.objects.get().state == "open"


def test_a_store_that_is_away_is_never_taken_for_damage(backup, monkeypatch):
    committed = backup.run(contents(2))
    run_jobs()
    store = stores.home() / "store"
    store.rename(store.with_name("unplugged"))
    store.mkdir()
    code, output = 0, io.StringIO()
    with suppress(SystemExit):
        call_command("scrub", "--json", stdout=output, stderr=output)
        code = 99
    assert code == 0
    assert state_of(committed) == "verified"
    assert Pack.objects.get().state == "verified"


def test_a_read_that_fails_is_an_error_of_the_scrub_and_not_damage(backup, monkeypatch):
    committed = backup.run(contents(2))
    run_jobs()
    real = stores.local_target()
    for operation in ("open", "get"):
        faulty = FaultyStore(real, [Fault(operation, 1, Failure.INPUT_OUTPUT)])
        monkeypatch.setattr(stores, "local_target", lambda faulty=faulty: faulty)
        code, summary = scrub()
        assert code == 1
        assert summary["unread"]
        assert summary["damaged_packs"] == summary["damaged_snapshots"] == []
        assert state_of(committed) == "verified"


def test_a_spool_that_cannot_be_read_leaves_the_pack_unverified(backup, monkeypatch):
    backup.run(contents(1))
    pack = Pack.objects.get()
    path = pack_path(pack)
    path.rename(path.with_suffix(".kept"))
    path.mkdir()  # opens, and cannot be read as a file
    with pytest.raises((RecordUnavailable, OSError)):
        verify_pack(pack.pk)
    assert Pack.objects.get().state == "sealed"


def test_deduplication_never_touches_an_unverified_pack(backup, vault):
    backup.run(contents(2))
    pack = Pack.objects.get()
    assert deduplication.deduplicate_pack(pack.pk) is None
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM catalog_chunk")
        assert cursor.fetchone()[0] == 0


def test_every_step_done_twice_changes_nothing(backup, vault):
    data = contents(3)
    committed = backup.run(data)
    pack = Pack.objects.get()
    verify_pack(pack.pk)
    assert verify_pack(pack.pk) is None
    done = deduplication.deduplicate_pack(pack.pk)
    assert (done.new, done.spares) == (4, 0)
    assert deduplication.deduplicate_pack(pack.pk) is None
    run_jobs()
    assert state_of(committed) == "verified"
    assert Vault.objects.get().next_number == 4
    assert Snapshot.objects.count() == Session.objects.count() == 1


def test_damage_found_while_a_snapshot_is_being_completed_is_not_overlooked(backup, vault, monkeypatch):
    data = contents(3)
    committed = backup.run(data)
    pack = Pack.objects.get()
    verify_pack(pack.pk)
    deduplication.deduplicate_pack(pack.pk)
    real = completion.check_snapshot_objects

    def meanwhile(snapshot: Snapshot) -> str:
        spoil_record(pack, data[1])
        scrubbing.scrub_all()
        return real(snapshot)

    with monkeypatch.context() as patched:
        patched.setattr(completion, "check_snapshot_objects", meanwhile)
        patched.setattr(scrubbing, "check_snapshot_objects", real)
        assert completion.complete_snapshot(committed.snapshot) is completion.Outcome.WAITING
    assert state_of(committed) != "verified"
    run_jobs()
    assert state_of(committed) == "damaged"
