"""A backup from begin to *verified*, and what each step promises."""

from __future__ import annotations

from dataclasses import replace

import pytest
from django.db import connection

from backup_platform.catalog import arrivals, commit, present, sessions, stores
from backup_platform.catalog.errors import Fenced, InvalidCommit
from backup_platform.catalog.models import Pack, Session, Snapshot
from backup_platform.catalog.reading import PackReader
from backup_platform.jobs.models import Job
from protocol.stored.recipients import RecipientKind, RecipientRecord
from protocol.stored.roots import decode_root, encode_root_header
from tests.catalog.stage import (
    BLOCK,
    CHUNK,
    Backup,
    block_of,
    contents,
    digest,
    make_machine,
    rsa_key,
    run_jobs,
    state_of,
)


def test_a_backup_becomes_verified_and_every_byte_comes_back(backup, vault):
    first, second = contents(5), contents(3)
    committed = backup.run(first, second)
    assert state_of(committed) == "received"
    run_jobs()
    assert state_of(committed) == "verified"
    found = {f.id: f.record.sealed for f in PackReader(vault.number).read([digest(c) for c in first + second])}
    assert found == {digest(c): c for c in first + second}


def test_a_received_snapshot_can_be_read_before_any_worker_has_seen_it(backup, vault):
    data = contents(4)
    backup.run(data)
    assert [f.record.sealed for f in PackReader(vault.number).read([digest(c) for c in data])] == data


def test_the_bitmap_counts_what_the_snapshot_needs(backup):
    data = contents(4)
    committed = backup.run(data)
    run_jobs()
    snapshot = Snapshot.objects.get(pk=committed.snapshot)
    assert snapshot.cardinality == 5
    assert snapshot.stored_bytes == 4 * 1000 + len(block_of(data))


def test_a_verified_pack_lies_in_the_target_and_no_longer_in_the_spool(backup):
    data = contents(2)
    backup.run(data)
    pack = Pack.objects.get()
    spool = stores.spool_path(pack.path)
    assert spool.exists()
    run_jobs()
    pack.refresh_from_db()
    assert pack.place == "target"
    assert digest(stores.local_target().get(pack.path)) == bytes(pack.digest)
    assert not spool.exists()


def test_commit_stores_everything_that_a_restore_needs_besides_packs(backup, machine, vault):
    committed = backup.run(contents(1))
    tenant = machine.tenant_id.hex
    keys = set(stores.local_target().list(f"{tenant}/{vault.pk.hex}"))
    snapshot = committed.snapshot.hex
    assert {
        f"{tenant}/{vault.pk.hex}/roots/{snapshot}.root",
        f"{tenant}/{vault.pk.hex}/roots/{snapshot}.recipients",
        f"{tenant}/{vault.pk.hex}/roots/{snapshot}.references",
        f"{tenant}/{vault.pk.hex}/statements/{machine.pk.hex}/{1:020}-{snapshot}.statement",
        f"{tenant}/{vault.pk.hex}/lifecycle/{snapshot}/1.lifecycle",
        f"{tenant}/{vault.pk.hex}/vault-records/1.record",
        f"{tenant}/{vault.pk.hex}/machines/{machine.pk.hex}.record",
    } == keys


def test_repeating_a_commit_gets_the_same_answer_even_from_an_older_connection(backup, machine):
    data = contents(2)
    begun = backup.begin()
    backup.send(data)
    proposed = backup.propose(data)
    first = proposed.send(machine, begun)
    assert proposed.send(machine, begun) == first
    run_jobs()
    again = proposed.send(machine, begun)
    assert (again.snapshot, again.received_at, again.state) == (first.snapshot, first.received_at, "verified")
    assert Snapshot.objects.count() == 1


def test_a_commit_with_a_missing_chunk_names_it_and_publishes_nothing(backup, machine, vault):
    data = contents(3)
    backup.begin()
    backup.send(data, omit=frozenset(data[:1]))
    proposed = backup.propose(data)
    assert proposed.send(machine, backup.begun) == commit.MissingIds([digest(data[0])])
    assert not Snapshot.objects.exists()
    assert not any("roots" in key for key in stores.local_target().list())
    backup.send_records([(CHUNK, data[0])])
    assert isinstance(proposed.send(machine, backup.begun), commit.Committed)


def test_a_commit_with_a_missing_block_names_the_block(backup, machine):
    data = contents(3)
    backup.begin()
    backup.send_records([(CHUNK, c) for c in data])
    assert backup.propose(data).send(machine, backup.begun) == commit.MissingIds([digest(block_of(data))])


def test_blocks_of_a_live_base_are_not_looked_at_again(backup, machine, vault, monkeypatch):
    old, new = contents(5), contents(2)
    backup.run(old)
    looked_at: list[bytes] = []
    lacking = commit.find_lacking

    def watch(number, blocks, **options):
        looked_at.extend(blocks)
        return lacking(number, blocks, **options)

    monkeypatch.setattr(commit, "find_lacking", watch)
    backup.run(old, new)
    assert set(looked_at) == {digest(block_of(new))}


def test_blocks_of_a_damaged_base_are_looked_at(backup, machine, vault):
    old = contents(3)
    committed = backup.run(old)
    run_jobs()
    Snapshot.objects.filter(pk=committed.snapshot).update(state="damaged")
    begun = backup.begin()
    assert begun.base is None
    assert isinstance(backup.propose(old).send(machine, begun), commit.Committed)


@pytest.mark.defence
def test_a_commit_on_a_damaged_base_names_what_is_gone(backup, machine, vault):
    """A live base's blocks are taken on trust; one that was found damaged must not pass its damage on."""
    old = contents(3)
    committed = backup.run(old)
    run_jobs()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE catalog_chunk SET state = 2 WHERE id = %s", [digest(old[1])])
    Snapshot.objects.filter(pk=committed.snapshot).update(state="damaged")
    begun = backup.begin()
    assert backup.propose(old).send(machine, begun) == commit.MissingIds([digest(old[1])])


@pytest.mark.defence
def test_a_commit_on_a_base_that_damage_met_unseen_names_what_is_gone(backup, machine):
    """Damage finds snapshots by their bitmaps, and one that was only received has none: the generation tells."""
    old = contents(3)
    backup.run(old)
    arrivals.report_loss(Pack.objects.get().pk, [digest(old[1])])
    begun = backup.begin()
    assert backup.propose(old).send(machine, begun) == commit.MissingIds([digest(old[1])])


def test_a_second_backup_sends_only_what_is_new(backup):
    old = contents(5)
    backup.run(old)
    run_jobs()
    backup.begin()
    assert backup.send(old) is None
    pack = backup.send(old, contents(1))
    assert pack.records == 2


def test_the_chain_goes_on_from_the_newest_statement(backup, machine):
    first = backup.run(contents(1))
    begun = backup.begin()
    assert begun.head_sequence == 1
    assert begun.head == bytes(Snapshot.objects.get(pk=first.snapshot).statement_digest)
    assert begun.base == first.snapshot


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sequence": 2}, "where 1 is due"),
        ({"previous": b"x" * 32}, "does not follow"),
        ({"machine_id": b"m" * 16}, "another machine"),
        ({"vault_id": b"v" * 16}, "another vault"),
        ({"epoch": 9}, "epoch 9"),
        ({"root_hash": b"r" * 32}, "root is not the one"),
        ({"blocks_hash": b"b" * 32}, "reference blocks are not those"),
        ({"time": 2**63}, "out of range"),
    ],
)
def test_a_statement_that_does_not_fit_is_refused(backup, machine, changes, words):
    data = contents(1)
    backup.begin()
    backup.send(data)
    with pytest.raises(InvalidCommit, match=words):
        backup.propose(data, **changes).send(machine, backup.begun)
    assert not Snapshot.objects.exists()


def test_a_statement_signed_with_another_machines_key_is_refused(backup, machine):
    data = contents(1)
    backup.begin()
    backup.send(data)
    backup.key = 1
    assert rsa_key(1) != rsa_key(0)
    with pytest.raises(InvalidCommit, match="signature"):
        backup.propose(data).send(machine, backup.begun)


@pytest.mark.defence
@pytest.mark.parametrize("field", ["tenant_id", "vault_id", "epoch", "machine_id", "sequence"])
def test_a_root_whose_header_disagrees_is_refused(backup, machine, field):
    data = contents(1)
    backup.begin()
    backup.send(data)
    honest = decode_root(backup.propose(data).root)
    other = 9 if field in ("epoch", "sequence") else b"x" * 16
    root = encode_root_header(replace(honest.header, **{field: other})) + bytes(12 + 64)
    proposed = backup.propose(data, root_hash=digest(root))
    proposed.root = root
    proposed.recipients = [RecipientRecord(RecipientKind(1), bytes(32), digest(root), bytes(256)).encode()]
    with pytest.raises(InvalidCommit, match="header does not agree"):
        proposed.send(machine, backup.begun)


@pytest.mark.defence
def test_recipient_records_of_another_root_or_none_are_refused(backup, machine):
    """Such a snapshot would be shown, counted and kept, and could never be opened."""
    data = contents(1)
    backup.begin()
    backup.send(data)
    proposed, other = backup.propose(data), backup.propose(data)
    for recipients, words in (([], "without recipients"), (other.recipients, "another root")):
        proposed.recipients = recipients
        with pytest.raises(InvalidCommit, match=words):
            proposed.send(machine, backup.begun)
    assert not Snapshot.objects.exists()


def test_a_block_whose_content_is_no_block_is_refused(backup, machine):
    data = contents(1)
    backup.begin()
    rubbish = b"not a block at all"
    backup.send_records([(BLOCK, rubbish)])
    proposed = backup.propose(data)
    blocks = digest(rubbish)
    spoilt = backup.propose(data, blocks_hash=digest(blocks))
    spoilt.blocks = blocks
    with pytest.raises(InvalidCommit):
        spoilt.send(machine, backup.begun)
    assert proposed.blocks != blocks


def test_a_commit_under_an_old_fence_is_refused(backup, machine):
    data = contents(1)
    old = backup.begin()
    backup.send(data)
    sessions.release_session(old.session, old.fence)
    new = backup.begin()
    assert (new.session, new.fence) == (old.session, old.fence + 1)
    with pytest.raises(Fenced):
        backup.propose(data).send(machine, old)
    assert isinstance(backup.propose(data).send(machine, new), commit.Committed)


def test_a_commit_ends_the_session(backup, machine):
    backup.run(contents(1))
    session = Session.objects.get()
    assert session.state == "committed"
    assert session.ended_at is not None


def test_a_condemned_chunk_is_revived_by_the_commit_that_needs_it(backup, machine, vault):
    data = contents(2)
    backup.run(data)
    run_jobs()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE catalog_chunk SET state = 1 WHERE vault = %s", [vault.number])
    Snapshot.objects.update(state="expired")
    assert len(present.missing_ids(vault.number, [digest(c) for c in data])) == 2
    backup.begin()
    assert isinstance(backup.propose(data).send(machine, backup.begun), commit.Committed)
    assert present.missing_ids(vault.number, [digest(c) for c in data]) == set()


def test_the_application_role_has_all_the_rights_that_a_backup_needs(application_role, backup):
    committed = backup.run(contents(2))
    run_jobs()
    assert state_of(committed) == "verified"


def test_every_job_of_a_backup_ends_well(backup):
    backup.run(contents(3))
    run_jobs()
    assert set(Job.objects.values_list("state", flat=True)) == {"done"}


def test_two_machines_of_a_vault_share_chunks(backup, vault):
    data = contents(4)
    backup.run(data)
    other = Backup(make_machine(vault, "beta"))
    other.begin()
    assert other.send(data) is None, "an arrival of another machine's session is present"
    committed = other.propose(data).send(other.machine, other.begun)
    run_jobs()
    assert state_of(committed) == "verified"
