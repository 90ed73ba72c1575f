"""What a reader believes: statements, roots, blocks and segments that prove themselves, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from blake3 import blake3

from agents.engine.reading import SnapshotReader
from agents.errors import Damage, ExitCode, NotFound
from agents.keys.faults import MachineRecordFault
from agents.keys.statement import ChainBreak, ChainFault, Head
from protocol.stored.recipients import decode_recipient
from tests.restore import forge
from tests.restore.forge import (
    SECRET,
    Shelf,
    directory,
    file,
    key,
    record,
    restore,
    trust,
)


@pytest.fixture
def shelf() -> Shelf:
    """Three honest snapshots of two segments each."""
    made = Shelf()
    for number in range(3):
        made.snapshot([directory(b"/a"), file(b"/a/f", b"%d" % number)], [directory(b"/b"), file(b"/b/g", b"g")])
    return made


def reader(shelf: Shelf, **changes) -> SnapshotReader:
    return SnapshotReader(shelf, trust(**changes))


def open_latest(shelf: Shelf, **changes):
    each = reader(shelf, **changes)
    return each.open(each.find("latest"))


def test_honest_snapshots_are_listed_newest_first_and_found_by_prefix(shelf: Shelf):
    listed = list(reader(shelf).listed())
    assert [each.statement.sequence for each in listed] == [3, 2, 1]
    assert reader(shelf).find(listed[1].name[:6]).name == listed[1].name
    assert reader(shelf).find("latest").name == listed[0].name
    assert [entry.path for entry in open_latest(shelf).entries()] == [b"/a", b"/a/f", b"/b", b"/b/g"]


@pytest.mark.parametrize("name", ["", "zz", "0" * 32, "a" * 33])
def test_name_that_fits_nothing_is_not_found(shelf: Shelf, name: str):
    with pytest.raises(NotFound):
        reader(shelf).find(name)


def test_prefix_of_several_snapshots_is_refused(shelf: Shelf):
    with pytest.raises(NotFound, match="too short"):
        reader(shelf).find(next(reader(shelf).listed()).name[:1])


def test_statement_signed_by_another_key_is_forged(shelf: Shelf):
    shelf.snapshot([file(b"/x", b"x")], signer="stranger")
    with pytest.raises(ChainFault) as caught:
        list(reader(shelf).listed())
    assert caught.value.kind is ChainBreak.FORGED
    assert caught.value.exit_code == ExitCode.DAMAGE


def test_server_made_machine_record_is_not_believed(shelf: Shelf):
    """The server knows everything but the dedup secret; its own key under its own record gets it nowhere."""
    shelf.made.clear()
    shelf.snapshot([file(b"/x", b"x")], signer="stranger")
    shelf.records = [record("stranger", secret=bytes(32))]
    with pytest.raises(MachineRecordFault):
        list(reader(shelf, own_record=b"").listed())
    with pytest.raises(ChainFault):
        list(reader(shelf).listed())


def test_without_machine_record_nothing_is_believed(shelf: Shelf):
    shelf.records = []
    with pytest.raises(Damage, match="no machine record"):
        list(reader(shelf, own_record=b"").listed())


def test_hidden_newest_snapshot_is_damage(shelf: Shelf):
    newest = shelf.made.pop().statement
    head = Head(newest.sequence, newest.digest)
    with pytest.raises(ChainFault) as caught:
        list(reader(shelf, head=head).listed())
    assert caught.value.kind is ChainBreak.SHORTENED
    shelf.made.clear()
    with pytest.raises(ChainFault):
        list(reader(shelf, head=head).listed())


def test_newest_snapshot_that_differs_from_the_remembered_one_is_a_fork(shelf: Shelf):
    with pytest.raises(ChainFault) as caught:
        reader(shelf, head=Head(3, bytes(32))).find("latest")
    assert caught.value.kind is ChainBreak.FORKED


def test_exchanged_neighbour_breaks_the_chain(shelf: Shelf):
    other = Shelf()
    other.snapshot([file(b"/other", b"first")])
    other.snapshot([file(b"/other", b"second")])
    shelf.made[1] = other.made[1]
    with pytest.raises(ChainFault) as caught:
        list(reader(shelf).listed())
    assert caught.value.kind is ChainBreak.FORKED


def test_expired_snapshot_in_the_middle_leaves_the_rest_readable(shelf: Shelf):
    del shelf.made[1]
    assert [each.statement.sequence for each in reader(shelf).listed()] == [3, 1]


def test_snapshots_in_another_order_are_refused(shelf: Shelf):
    shelf.made.reverse()
    with pytest.raises(ChainFault) as caught:
        list(reader(shelf).listed())
    assert caught.value.kind is ChainBreak.REORDERED


def test_statement_under_another_id_is_refused(shelf: Shelf):
    honest = shelf.item
    shelf.item = lambda made: msgspec.structs.replace(honest(made), id=b"x" * 16)
    with pytest.raises(Damage, match="another statement"):
        list(reader(shelf).listed())


def test_root_of_another_snapshot_is_refused(shelf: Shelf):
    shelf.made[2] = replace(shelf.made[2], root=shelf.made[1].root, recipients=shelf.made[1].recipients)
    with pytest.raises(Damage, match="signed for"):
        open_latest(shelf)


def test_other_reference_blocks_are_refused(shelf: Shelf):
    shelf.made[2] = replace(shelf.made[2], blocks=shelf.made[1].blocks)
    with pytest.raises(Damage, match="reference blocks are not those that the machine signed for"):
        open_latest(shelf)


@pytest.mark.parametrize(
    "header",
    [{"tenant_id": b"x" * 16}, {"machine_id": b"x" * 16}, {"sequence": 9}, {"epoch": 2}, {"vault_id": b"x" * 16}],
)
def test_root_whose_header_disagrees_with_the_statement_is_refused(shelf: Shelf, header: dict):
    shelf.snapshot([file(b"/x", b"x")], header=header)
    with pytest.raises(Damage, match="belongs to another"):
        open_latest(shelf)


def test_blocks_that_the_root_does_not_name_are_refused(shelf: Shelf):
    made = shelf.made[2]
    swapped = made.blocks[32:] + made.blocks[:32]
    shelf.made.pop()
    shelf.snapshot([file(b"/x", b"x")], statement={"blocks_hash": blake3(swapped).digest()})
    shelf.made[2] = replace(shelf.made[2], blocks=swapped)
    with pytest.raises(Damage, match="names other reference blocks"):
        open_latest(shelf)


def test_root_that_is_not_sealed_to_us_says_so(shelf: Shelf):
    with pytest.raises(Damage, match="not sealed to this key"):
        open_latest(shelf, key=key("identity"))


def test_recipient_record_of_another_root_is_refused(shelf: Shelf):
    assert decode_recipient(shelf.made[1].recipients[0]).root_hash != blake3(shelf.made[2].root).digest()
    shelf.made[2] = replace(shelf.made[2], recipients=shelf.made[1].recipients)
    with pytest.raises(Damage):
        open_latest(shelf)


def test_own_secret_of_another_vault_opens_nothing(shelf: Shelf):
    assert bytes(32) != SECRET
    with pytest.raises(MachineRecordFault):
        reader(shelf, dedup_secret=bytes(32))


@pytest.mark.defence
def test_snapshot_of_another_machine_is_not_given_out_as_the_one_that_was_asked_for(shelf: Shelf):
    """With the kit, which machine has a name is the server's word; the sealed root repeats the name."""
    assert open_latest(shelf, own_record=b"", machine_name="alpha").body.machine_name == "alpha"
    with pytest.raises(Damage, match="snapshot of the machine 'alpha' where one of 'beta'") as caught:
        open_latest(shelf, own_record=b"", machine_name="beta")
    assert caught.value.exit_code == ExitCode.DAMAGE


@pytest.mark.parametrize("epochs", [[0], [-1], [1 << 32], [1, 2**63], range(1, 1026)])
def test_root_with_epochs_that_cannot_be_is_damage(shelf: Shelf, monkeypatch, epochs):
    """A hostile machine of the vault signs what it likes; whoever restores it with the kit gets a sentence."""
    made = forge.RootBody
    monkeypatch.setattr(forge, "RootBody", lambda **body: made(**{**body, "secrets": dict.fromkeys(epochs, SECRET)}))
    shelf.snapshot([file(b"/x", b"x")])
    with pytest.raises(Damage, match="epochs"):
        open_latest(shelf)


def test_numbers_that_the_server_does_not_list_are_known(shelf: Shelf):
    del shelf.made[0:1]
    each = reader(shelf)
    assert [one.statement.sequence for one in each.listed()] == [3, 2]
    assert each.gaps == [(1, 1)]
    shelf.snapshot([file(b"/x", b"x")])
    del shelf.made[1]
    assert [one.statement.sequence for one in each.listed()] == [4, 2]
    assert each.gaps == [(3, 3), (1, 1)]


def test_damaged_chunk_costs_its_file_and_no_other(shelf: Shelf, tmp_path: Path):
    chunk = shelf.keep(b"2")
    sealed = bytearray(shelf.chunks[chunk.id])
    sealed[20] ^= 1
    shelf.chunks[chunk.id] = bytes(sealed)
    done = restore(shelf, tmp_path / "t")
    assert sorted(done.tree()) == ["a", "b", "b/g"]
    assert (done.result.damaged, done.result.files) == (1, 1)
    assert b"/a/f" in done.errors


def test_missing_chunk_and_chunk_of_another_file_cost_one_file(shelf: Shelf, tmp_path: Path):
    chunk, other = shelf.keep(b"2"), shelf.keep(b"something else")
    shelf.chunks[chunk.id] = shelf.chunks[other.id]
    assert restore(shelf, tmp_path / "one").result.damaged == 1
    del shelf.chunks[chunk.id]
    done = restore(shelf, tmp_path / "two")
    assert (done.result.damaged, sorted(done.tree())) == (1, ["a", "b", "b/g"])


def test_lost_segment_is_named_by_its_ends_and_the_others_are_restored(shelf: Shelf, tmp_path: Path):
    opened = open_latest(shelf)
    del shelf.chunks[opened.body.segments[0].chunk_id]
    done = restore(shelf, tmp_path / "t")
    assert sorted(done.tree()) == ["b", "b/g"]
    assert {b"/a", b"/a/f"} == set(done.errors)
    assert done.result.damaged == 2


@pytest.mark.defence
@pytest.mark.parametrize("said", [{"first_path": b"/9"}, {"last_path": b"/a/z"}, {"entries": 1}])
def test_segment_that_lists_something_else_than_the_root_says_is_damage(
    shelf: Shelf, tmp_path: Path, monkeypatch, said
):
    """Otherwise a segment with other ends could hide files from whoever asks for a path."""
    made = forge.RootBody

    def lying(**body):
        first, *others = body["segments"]
        return made(**{**body, "segments": [msgspec.structs.replace(first, **said), *others]})

    monkeypatch.setattr(forge, "RootBody", lying)
    shelf.snapshot([directory(b"/a"), file(b"/a/f", b"f")], [directory(b"/b"), file(b"/b/g", b"g")])
    done = restore(shelf, tmp_path / "t")
    assert sorted(done.tree()) == ["b", "b/g"]
    assert done.result.damaged > 0


@pytest.mark.defence
def test_chunk_of_right_seal_and_wrong_content_costs_its_file(shelf: Shelf, tmp_path: Path):
    """A hostile machine of the vault holds every key; what it stored under an honest id opens, and is not believed."""
    h, chunk_id = forge.SEALER.identify(b"2")
    shelf.chunks[chunk_id] = forge.SEALER.seal(b"!", h, chunk_id)
    done = restore(shelf, tmp_path / "t")
    assert (done.result.damaged, sorted(done.tree())) == (1, ["a", "b", "b/g"])


def test_only_the_segments_of_a_path_are_fetched(shelf: Shelf, tmp_path: Path):
    opened = open_latest(shelf)
    shelf.fetched.clear()
    done = restore(shelf, tmp_path / "t", path=b"/b")
    assert sorted(done.tree()) == ["b", "b/g"]
    assert opened.body.segments[0].chunk_id not in shelf.fetched
    assert opened.body.segments[1].chunk_id in shelf.fetched


def test_path_that_only_begins_like_another_is_not_restored_with_it(tmp_path: Path):
    shelf = Shelf()
    shelf.snapshot([directory(b"/a"), file(b"/a/f", b"f"), directory(b"/a.b"), file(b"/a.b/g", b"g")])
    assert sorted(restore(shelf, tmp_path / "t", path=b"/a").tree()) == ["a", "a/f"]


def test_path_that_is_not_there_is_not_found(shelf: Shelf, tmp_path: Path):
    with pytest.raises(NotFound):
        restore(shelf, tmp_path / "t", path=b"/c")
