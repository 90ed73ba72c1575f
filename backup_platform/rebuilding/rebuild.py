"""The whole of a rebuild: from a store's keys to a catalogue whose snapshots the ordinary jobs then verify.

The order makes it repeatable: each step leaves out what is there. Packs come before snapshots, since a snapshot that is
looked at before its packs would be called damaged; and reclaim rests from before the first row, since chunks that no
snapshot names yet look like rubbish.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from uuid import UUID

from backup_platform.catalog.models import Pack, Snapshot
from backup_platform.catalog.reading import is_of_the_medium
from backup_platform.fleet.models import Machine
from backup_platform.fleet.services import authority
from backup_platform.storage.base import StoreError
from backup_platform.tenants.scope import tenant_scope
from backup_platform.upkeep.services import pause_reclaim
from backup_platform.vaults.models import Vault

from .beginning import check_may_begin, note_begun, note_ended
from .catching_up import bring_back_again, look_at_missing_packs
from .errors import RebuildRefused
from .fates import read_fate
from .holds import HoldsAgain
from .keeping import Keeper
from .names import Names
from .owners import make_machine, make_tenant, make_vault
from .packs import NOT_HERE, NotThisPack, SeenPack, look_at_each, register
from .report import Report
from .snapshots import MachineSnapshots
from .source import Source, keep_target
from .survey import VaultFiles, survey

READERS = 3
"""Packs read at once: each holds a record and an index in memory, and the disk or the network is the limit."""
PAUSE_REASON = (
    "The catalogue was rebuilt. Resume once every snapshot is verified, `scrub` has read everything once, and the "
    "damage was looked at."
)

Say = Callable[[str], None]


def rebuild(source: Source, names: Names, *, actor: str, say: Say = lambda sentence: None) -> Report:
    """Make the catalogue again from a store. RebuildRefused: what was made by then stays; run it again to go on."""
    goes_on = check_may_begin(source)
    say("Listing the store…")
    found = survey(source.store)
    keep_target(source)
    if not goes_on:
        note_begun(source, actor)
    authority()  # made now, if it never was: once there are machines, a missing one is taken for lost
    report = Report()
    if found.strangers:
        report.notes.append(f"{found.strangers} objects of the store are none that we know, and were passed over.")
    pause_reclaim(None, by=actor, reason=PAUSE_REASON)
    try:
        keeper = Keeper.of(source, report, found.healed)
        for files in found.vaults.values():
            _rebuild_vault(files, keeper, names, report, say)
    except (StoreError, OSError) as fault:
        sentence = fault.strerror if isinstance(fault, OSError) and fault.strerror else str(fault)
        raise RebuildRefused(
            f"The store could not be read on: {sentence} What was rebuilt stays; run the command again to go on."
        ) from None
    note_ended(source, actor, report)
    return report


def _rebuild_vault(files: VaultFiles, keeper: Keeper, names: Names, report: Report, say: Say) -> None:
    tenant = make_tenant(files.tenant_id, names, report)
    vault = make_vault(tenant, files, keeper, names, report)
    if vault is None:
        return
    with tenant_scope(tenant):
        say(f"Vault {vault.name}: {len(files.packs)} packs…")
        _rebuild_packs(files, vault, keeper, report, say)
        machines = _rebuild_machines(files, vault, keeper, names, report)
        for machine in machines:
            MachineSnapshots(machine, files, keeper, report).rebuild()
        bring_back_again(vault, files, keeper, report)
        _rebuild_holds(files, vault, keeper, report)
        look_at_missing_packs(vault, files, keeper.source, report)


def _rebuild_packs(files: VaultFiles, vault: Vault, keeper: Keeper, report: Report, say: Say) -> None:
    done_before = Pack.objects.filter(vault=vault, deduplicated_at__isnull=False).exclude(place__in=NOT_HERE)
    known = set(done_before.values_list("uid", flat=True))
    wanted = [(uid, key) for uid, key in sorted(files.packs.items(), key=lambda item: item[1]) if uid not in known]
    report.count("packs", len(files.packs) - len(wanted))
    for done, (uid, looked) in enumerate(_looked_through(wanted, files, keeper), 1):
        try:
            seen = looked.result()
        except NotThisPack as fault:
            report.fault("pack", uid, str(fault))
            continue
        except OSError as fault:
            if not is_of_the_medium(fault):
                raise
            report.fault("pack", uid, "Parts of it cannot be read from the disk.")
            continue
        _take_pack(seen, vault, keeper, report)
        if done % 100 == 0:
            say(f"  {done} of {len(wanted)} packs")


def _looked_through(
    wanted: list[tuple[UUID, str]], files: VaultFiles, keeper: Keeper
) -> Iterator[tuple[UUID, Future[SeenPack]]]:
    """Packs in order, a few read ahead. The readers touch the store only, never the database."""
    store = keeper.source.store
    waiting = iter(wanted)
    with ThreadPoolExecutor(READERS, thread_name_prefix="rebuild") as pool:

        def ask(item: tuple[UUID, str]) -> tuple[UUID, Future[SeenPack]]:
            return item[0], pool.submit(look_at_each, store, keeper.keys(item[1]), files.vault_id, item[0])

        under_way = [ask(item) for item in islice(waiting, READERS + 1)]
        while under_way:
            yield under_way.pop(0)
            under_way += [ask(item) for item in islice(waiting, 1)]


def _take_pack(seen: SeenPack, vault: Vault, keeper: Keeper, report: Report) -> None:
    if seen.fault:
        report.fault("pack", seen.uid, seen.fault)
    if not seen.entries:
        return
    register(keeper.source, vault, seen)
    report.count("packs")
    report.count("records", len(seen.entries))
    report.count("bytes", seen.size)


def _rebuild_machines(files: VaultFiles, vault: Vault, keeper: Keeper, names: Names, report: Report) -> list[Machine]:
    machines = []
    for machine_id, key in sorted(files.machines.items()):
        machine = make_machine(vault, machine_id, keeper.take(key), names, report)
        if machine is not None:
            machines.append(machine)
    for machine_id in files.statements.keys() - files.machines.keys():
        report.fault("machine", machine_id, "Its record is missing, so its statements prove nothing and are not used.")
    return machines


def _rebuild_holds(files: VaultFiles, vault: Vault, keeper: Keeper, report: Report) -> None:
    again = HoldsAgain(vault.tenant_id, report)
    there = set(Snapshot.objects.filter(vault=vault).values_list("pk", flat=True))
    for snapshot, count in files.lifecycle.items():
        if count > 1 and snapshot in there:
            for name, record in read_fate(files, snapshot, keeper).holds.items():
                again.make(snapshot, name, record)
