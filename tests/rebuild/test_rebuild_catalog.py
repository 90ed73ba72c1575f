"""The catalogue again, from a store alone: what comes back, and what is said when something is missing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from backup_platform.catalog.models import Copy, Pack, PackPlace, Snapshot
from backup_platform.catalog.work import ask_to_complete
from backup_platform.fleet.models import Machine, MachineState
from backup_platform.rebuilding.errors import RebuildRefused
from backup_platform.rebuilding.names import Names
from backup_platform.rebuilding.rebuild import rebuild
from backup_platform.rebuilding.report import Report
from backup_platform.rebuilding.source import Source, source_at, source_of_target
from backup_platform.storage.base import Store, StoreUnavailable
from backup_platform.storage.local import LocalStore
from backup_platform.targets.models import Target
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.vaults.models import Vault, WrappedSecret
from tests.end_to_end.stage import World
from tests.end_to_end.trees import describe
from tests.rebuild.stage import Ruins, flip, new_gateway, run_jobs, spoil_and_heal, states

pytestmark = pytest.mark.django_db(transaction=True)


def names_of(ruins: Ruins) -> Names:
    """The names that the kit's holder reads from the store."""
    path = ruins.place / "names"
    path.write_text(ruins.with_kit("snapshots", machine="").out, encoding="utf-8")
    return Names.read(path)


def rebuilt(ruins: Ruins, **options) -> Report:
    return rebuild(source_at(ruins.store), options.pop("names", Names()), actor="tests", **options)


@pytest.fixture
def everywhere() -> Iterator[None]:
    with without_tenant_scope("the test looks at what came back"):
        yield


def test_everything_comes_back_and_restores_equal(ruins: Ruins, tmp_path: Path):
    report = rebuilt(ruins, names=names_of(ruins))
    assert report.damage == []
    assert report.made["snapshots received"] == 3
    run_jobs()
    assert states() == {"verified": 3}
    with without_tenant_scope("the test looks"):
        vault = Vault.objects.get()
        assert {machine.name for machine in Machine.objects.all()} == {"alpha", "beta"}
        assert set(Machine.objects.values_list("state", flat=True)) == {MachineState.PENDING}
        assert WrappedSecret.objects.count() == 1
        assert set(Pack.objects.values_list("place", flat=True)) == {PackPlace.REMOTE}
        assert {s.statistics["files"] for s in Snapshot.objects.all()} == {70, 71}
    gateway = new_gateway(ruins.home)
    try:
        world = World(ruins.place / "world", ruins.opened, gateway, vault)
        reader = world.agent("reader")
        for (machine, number), snapshot in ruins.ids.items():
            out = tmp_path / f"out-{machine}-{number}"
            kit = ("--kit", world.kit_directory, "--machine", machine)
            said = reader.json("restore", snapshot, "--target", out, *kit)
            assert said.code == 0, said
            came = describe(out / ruins.sources[machine].relative_to("/"))
            assert came == ruins.was[machine, number]
    finally:
        gateway.stop()


def test_store_put_back_in_its_place_is_home_again(ruins: Ruins, everywhere):
    shutil.copytree(ruins.store, ruins.home / "store")
    report = rebuild(source_at(ruins.home / "store"), Names(), actor="tests")
    assert report.damage == []
    run_jobs()
    assert states() == {"verified": 3}
    assert set(Pack.objects.values_list("place", flat=True)) == {PackPlace.TARGET}


def test_chunks_are_numbered_without_gaps(ruins: Ruins, everywhere):
    from django.db import connection

    rebuilt(ruins)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*), min(number), max(number) FROM catalog_chunk")
        count, lowest, highest = cursor.fetchone()
    assert (lowest, highest) == (0, count - 1)
    assert Vault.objects.get().next_number == count


def test_machines_and_tenants_without_names_get_those_of_their_ids(ruins: Ruins, everywhere):
    rebuilt(ruins)
    assert Tenant.objects.get().name == f"tenant-{Tenant.objects.get().pk.hex[:8]}"
    assert all(machine.name == f"machine-{machine.pk.hex[:8]}" for machine in Machine.objects.all())


@pytest.mark.defence
def test_database_that_is_not_empty_is_refused(aftermath, everywhere):
    before = Snapshot.objects.count()
    with pytest.raises(RebuildRefused, match="not empty"):
        rebuild(source_at(aftermath.store), Names(), actor="tests")
    assert Snapshot.objects.count() == before


class BreaksOff(LocalStore):
    """A store whose listing, or whose reading, breaks off after so many."""

    keys_told = 10**9
    objects_read = 10**9

    def list(self, prefix: str = "") -> Iterator[str]:
        for number, key in enumerate(super().list(prefix)):
            if number >= self.keys_told:
                raise StoreUnavailable("the listing broke off")
            yield key

    def open(self, key: str):
        self.objects_read -= 1
        if self.objects_read < 0:
            raise StoreUnavailable("the disk went away")
        return super().open(key)


def breaking(ruins: Ruins) -> tuple[Source, BreaksOff]:
    source = source_at(ruins.store)
    store = BreaksOff(ruins.store)
    return Source(store, source.target), store


@pytest.mark.defence
@pytest.mark.parametrize("keys", [0, 5])
def test_listing_that_breaks_off_ends_the_rebuild_before_it_began(ruins: Ruins, everywhere, keys: int):
    source, store = breaking(ruins)
    store.keys_told = keys
    with pytest.raises(RebuildRefused, match="could not be listed"):
        rebuild(source, Names(), actor="tests")
    assert not Tenant.objects.exists()
    assert not Snapshot.objects.exists()


def test_rebuild_that_was_interrupted_goes_on(ruins: Ruins, everywhere):
    source, store = breaking(ruins)
    store.objects_read = 6
    with pytest.raises(RebuildRefused, match="again to go on"):
        rebuild(source, Names(), actor="tests")
    store.objects_read = 10**9
    report = rebuild(source, Names(), actor="tests")
    assert report.damage == []
    run_jobs()
    assert states() == {"verified": 3}
    with pytest.raises(RebuildRefused, match="not empty"):
        rebuild(source, Names(), actor="tests")


def test_pack_without_trailer_is_scanned_and_reported(ruins: Ruins, everywhere):
    pack = ruins.pack()
    pack.chmod(0o600)
    with pack.open("r+b") as file:
        file.truncate(pack.stat().st_size - 56)
    report = rebuilt(ruins)
    assert [(fault.kind, fault.name.replace("-", "")) for fault in report.damage] == [("pack", pack.stem)]
    run_jobs()
    assert states() == {"verified": 3}


@pytest.mark.defence
def test_pack_under_another_packs_name_is_not_used(ruins: Ruins, everywhere):
    packs = sorted(ruins.store.rglob("*.pack"), key=lambda path: path.stat().st_size)
    packs[-1].unlink()
    shutil.copy(packs[0], packs[-1])
    report = rebuilt(ruins)
    assert [fault.name.replace("-", "") for fault in report.damage] == [packs[-1].stem]
    assert not Pack.objects.filter(uid=packs[-1].stem).exists()
    run_jobs()
    assert "damaged" in states()


@pytest.mark.defence
def test_rotten_record_does_not_get_into_the_index(ruins: Ruins, everywhere):
    packs = list(ruins.store.rglob("*.pack"))
    for pack in packs:
        flip(pack, pack.stat().st_size // 2)
    report = rebuilt(ruins)
    assert {fault.kind for fault in report.damage} == {"pack"}
    assert len(report.damage) == len(packs)
    run_jobs()
    assert "damaged" in states()


def test_objects_that_stand_in_for_damaged_ones_are_read(ruins: Ruins, everywhere):
    spoil_and_heal(ruins)
    assert rebuilt(ruins).damage == []
    run_jobs()
    assert states() == {"verified": 3}


@pytest.mark.defence
def test_snapshot_whose_reference_list_is_lost_or_another_is_never_called_good(ruins: Ruins, everywhere):
    first, second = (next(ruins.store.rglob(f"{ruins.ids['alpha', n]}.references")) for n in (1, 2))
    first.unlink()
    flip(second, 40)
    report = rebuilt(ruins)
    assert {fault.kind for fault in report.damage} == {"snapshot"}
    for snapshot in Snapshot.objects.filter(state="damaged"):
        ask_to_complete(snapshot)  # as healing does
    run_jobs()
    assert states() == {"damaged": 2, "verified": 1}


@pytest.mark.defence
def test_record_of_another_machine_is_not_used(ruins: Ruins, everywhere):
    records = sorted(ruins.store.rglob("machines/*.record"))
    records[0].unlink()
    shutil.copy(records[1], records[0])
    report = rebuilt(ruins)
    assert any(fault.kind == "machine" and "another machine" in fault.fault for fault in report.damage)
    assert Machine.objects.get().pk.hex == records[1].stem


def test_missing_statement_is_reported_as_damage(ruins: Ruins, everywhere):
    next(ruins.store.rglob(f"{1:020}-{ruins.ids['alpha', 1]}.statement")).unlink()
    report = rebuilt(ruins)
    assert any("number 1 are missing" in fault.fault for fault in report.damage)
    run_jobs()
    assert states() == {"verified": 2}


def test_expired_stays_expired_and_holds_come_back(ruins: Ruins, everywhere):
    from backup_platform.retention.models import Hold

    expired, held = (ruins.ids["alpha", number] for number in (1, 2))
    append(ruins, expired, 2, {"because": "the rule keeps one"})
    append(ruins, held, 4, {"hold": "6f" * 16, "case": "A-17", "reason": "a quarrel", "scope": "tenant"})
    report = rebuilt(ruins)
    assert report.damage == []
    run_jobs()
    assert states() == {"expired": 1, "verified": 2}
    row = Snapshot.objects.get(pk=expired)
    assert (row.expired_because, row.state_before) == ("the rule keeps one", "received")
    hold = Hold.objects.get()
    assert (hold.case, hold.scope, hold.released_at) == ("A-17", "tenant", None)


def test_hold_that_was_released_stays_released(ruins: Ruins, everywhere):
    from backup_platform.retention.models import Hold

    append(ruins, ruins.ids["alpha", 2], 4, {"hold": "6f" * 16, "case": "A-17"})
    append(ruins, ruins.ids["alpha", 2], 5, {"hold": "6f" * 16, "case": "A-17"})
    rebuilt(ruins)
    assert not Hold.objects.exists()


def test_command_tells_what_it_made_and_what_is_damaged(ruins: Ruins, capsys: pytest.CaptureFixture[str]):
    from django.core.management import call_command

    ruins.pack().unlink()
    call_command("rebuild_catalog", "--directory", str(ruins.store), "--json")
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary["made"]["snapshots received"] == 3
    with pytest.raises(Exception, match="not empty"):
        call_command("rebuild_catalog", "--directory", str(ruins.store))


def test_target_that_is_set_up_already_is_rebuilt_from_by_its_name(ruins: Ruins, everywhere):
    with pytest.raises(RebuildRefused, match="no target of the platform named 'far'"):
        source_of_target("far")
    Target.objects.create(name="far", kind="local", path=str(ruins.store))
    report = rebuild(source_of_target("far"), Names(), actor="tests")
    assert report.damage == []
    assert Target.objects.filter(home=False).count() == 1
    assert set(Copy.objects.values_list("target__name", "state")) == {("far", "good")}


def append(ruins: Ruins, snapshot: str, event: int, detail: dict[str, str]) -> None:
    """One more lifecycle record in the store."""
    from protocol.stored.lifecycle import LifecycleEvent, LifecycleRecord, decode_lifecycle

    folder = next(ruins.store.rglob(f"lifecycle/{snapshot}"))
    last = max(int(path.stem) for path in folder.iterdir())
    before = decode_lifecycle((folder / f"{last}.lifecycle").read_bytes())
    record = LifecycleRecord(
        bytes.fromhex(snapshot), LifecycleEvent(event), before.time + 1_000_000, before.digest, detail
    )
    (folder / f"{last + 1}.lifecycle").write_bytes(record.encode())


assert issubclass(BreaksOff, Store)
