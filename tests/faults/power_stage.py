"""The ways of a pack through the stores, each to be broken off by a power cut anywhere, and what must hold after it.

A way is prepared with power, acted while it fails, and settled by what workers do after the next start.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

from blake3 import blake3
from django.db import transaction
from django.utils import timezone

from backup_platform.catalog import reading, stores
from backup_platform.catalog.commit import Committed
from backup_platform.catalog.completion import check_snapshot_objects
from backup_platform.catalog.models import Copy, CopyState, Pack, PackPlace, PackState, Session, Snapshot
from backup_platform.jobs.models import Job
from backup_platform.storage import local
from backup_platform.storage.base import NotFound
from backup_platform.storage.local import LocalStore
from backup_platform.targets.models import Target, TargetKind
from backup_platform.targets.opening import open_store
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.tiering.evicting import GRACE, unlink_due
from backup_platform.tiering.models import EvictWhen, TierRule
from backup_platform.upkeep.scrub_now import scrub_everything
from backup_platform.vaults.models import Vault
from tests.catalog.stage import Backup, Proposed, contents, make_machine
from tests.faults.power import FailingDisk, PowerCut
from tests.tiering.stage import comes_back, forget_cache, run_all, tick, ticks, wake_all
from tests.upkeep.reclaim_stage import compact, let_expire, run_round
from tests.upkeep.scrub_stage import copy_pack, flip

SIZE = 6_000
LATER = GRACE + timedelta(minutes=1)


@dataclass
class Life:
    """A vault and what must come back from it: `kept` was acknowledged, `snapshots` were committed."""

    vault: Vault
    backup: Backup
    kept: list[bytes] = field(default_factory=list)
    snapshots: list[UUID] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)
    """What was sent and acknowledged to a session that is not committed yet."""
    proposed: Proposed | None = None
    harmed: bool = False
    """Whether a file was spoilt on purpose: then one place may hold wrong bytes, and no reader may give them."""

    def twin(self) -> Life:
        """The same, to be gone on with without changing this one."""
        return replace(self, backup=replace(self.backup), kept=list(self.kept), snapshots=list(self.snapshots))

    def back_up(self, count: int = 3) -> list[bytes]:
        """A whole backup, acknowledged to its end; its contents."""
        data = contents(count, SIZE)
        self.snapshots.append(self.backup.run(data).snapshot)
        self.kept += data
        return data


class Way:
    """What a worker or a gateway does with packs."""

    def prepare(self, life: Life) -> None:
        """Everything up to the moment from which the power may fail."""

    def act(self, life: Life) -> None:
        """What the power cut breaks off."""

    def settle(self, life: Life) -> None:
        """What comes of the rows afterwards: the same work again, to its end."""
        self.act(life)


class Committing(Way):
    """A snapshot is committed, its pack is verified, deduplicated and placed in the home store."""

    def prepare(self, life: Life) -> None:
        life.back_up()
        run_all()
        life.sent = contents(3, SIZE)
        life.backup.begin()
        life.backup.send(life.sent)
        life.proposed = life.backup.propose(life.sent)

    def act(self, life: Life) -> None:
        if len(life.snapshots) < 2:  # else it was acknowledged before
            answer = life.proposed.send(life.backup.machine, life.backup.begun)
            assert isinstance(answer, Committed), answer
            life.snapshots.append(answer.snapshot)
            life.kept += life.sent
        run_all()


class Tiering(Way):
    """Packs and snapshots are copied to another disk, leave this one, and their files are unlinked."""

    def prepare(self, life: Life) -> None:
        for _ in range(2):
            life.back_up()
        run_all()
        with without_tenant_scope("the stage is set"):
            TierRule.objects.create(target=make_target(life.vault), at_once=True, evict_when=EvictWhen.DAYS)

    def act(self, life: Life) -> None:
        for _ in range(3):
            wake_all()
            tick()
        unlink_due(timezone.now() + LATER)

    def settle(self, life: Life) -> None:
        ticks(lambda: not Pack.objects.exclude(place=PackPlace.REMOTE).exists(), most=10)
        unlink_due(timezone.now() + LATER)


class Compacting(Way):
    """A mostly dead pack is rewritten, the new one takes its place, and the old file goes."""

    def prepare(self, life: Life) -> None:
        shared = contents(2, SIZE)
        first = life.backup.run(contents(8, SIZE), shared)
        life.snapshots.append(life.backup.run(shared, new := contents(1, SIZE)).snapshot)
        life.kept += [*shared, *new]
        run_all()
        let_expire(first)
        run_round(life.vault)

    def act(self, life: Life) -> None:
        compact(life.vault)
        run_round(life.vault, begin=False)


class Reclaiming(Way):
    """A pack that nothing needs any more is removed, at both of its places."""

    def prepare(self, life: Life) -> None:
        first = life.backup.run(contents(3, SIZE))
        life.back_up()
        run_all()
        target = make_target(life.vault)
        for pack in Pack.objects.order_by("pk"):
            copy_pack(pack, target)
        let_expire(first)

    def act(self, life: Life) -> None:
        run_round(life.vault)
        run_round(life.vault, begin=False)


class Healing(Way):
    """A spoilt file is put right from another place: the good bytes beside it, the row, then the spoilt one goes."""

    def prepare(self, life: Life) -> None:
        life.back_up()
        run_all()
        pack = Pack.objects.get()
        copy_pack(pack, make_target(life.vault))
        flip(stores.home() / "store" / pack.path, 200)
        life.harmed = True

    def act(self, life: Life) -> None:
        scrub_everything()
        run_all()


WAYS: dict[str, type[Way]] = {
    way.__name__.lower(): way for way in (Committing, Tiering, Compacting, Reclaiming, Healing)
}


def make_target(vault: Vault) -> Target:
    """A directory beside the home's store, on the same disk."""
    root = stores.home() / f"target-{uuid4().hex[:6]}"
    LocalStore.create(root)
    with without_tenant_scope("the stage is set"):
        return Target.objects.create(tenant=vault.tenant, name=root.name, kind=TargetKind.LOCAL, path=str(root))


def begin_life(vault: Vault, way: Way) -> Life:
    """A prepared way."""
    life = Life(vault, Backup(make_machine(vault, f"machine-{uuid4().hex[:6]}")))
    way.prepare(life)
    return life


@contextmanager
def undone() -> Iterator[None]:
    """What happens to the rows inside never happened."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def live_through(way: Way, life: Life, disk: FailingDisk, *, settles: bool = True) -> None:
    """Act until the power fails, and then what the next start finds; and, if it `settles`, does and has made of it."""
    act_until_cut(way, life, disk)
    disk.cut()
    start_again()
    everything_is_there(life)
    if not settles:
        return
    way.settle(life)
    everything_is_there(life)
    nothing_is_left_to_do()


def act_until_cut(way: Way, life: Life, disk: FailingDisk) -> None:
    """Act, without what would come after the power cut."""
    forget_what_a_process_knows()
    with suppress(PowerCut), disk.watched():
        way.act(life)
    transaction.set_rollback(False)  # a block without a savepoint of its own had not written anything after the cut


def start_again() -> None:
    """Processes that know nothing, leases that are over, and jobs that come again."""
    forget_what_a_process_knows()
    over = timezone.now() - timedelta(seconds=1)
    with without_tenant_scope("a start is everybody's"):
        Job.objects.filter(state="running").update(state="queued", next_attempt_at=over, lease_owner="", attempts=0)
        Pack.objects.update(lease_until=over)
        Session.objects.update(lease_until=over)
    wake_all()


def forget_what_a_process_knows() -> None:
    """Rows, blocks and folders that a process remembers end with it."""
    local._durable.clear()
    reading._rows.clear()
    forget_cache()


def everything_is_there(life: Life) -> None:
    """All that was acknowledged reads back; every place that a row calls good has the pack; every root is whole."""
    assert comes_back(life.vault, [*life.kept, *life.sent]), "acknowledged bytes are gone"
    for snapshot in Snapshot.objects.filter(pk__in=life.snapshots):
        assert check_snapshot_objects(snapshot) == ""
    if not life.harmed:
        for pack in Pack.objects.filter(place=PackPlace.TARGET, unlink_at__isnull=True, state=PackState.VERIFIED):
            assert holds(stores.local_target(), pack.path, pack), "its row says that the pack is here"
    for copy in Copy.objects.filter(state=CopyState.GOOD).select_related("pack", "target"):
        assert holds(open_store(copy.target), copy.key, copy.pack), "its row says that the copy is good"


def holds(store: LocalStore, key: str, pack: Pack) -> bool:
    """Whether a store has a pack under a key, byte for byte."""
    try:
        return blake3(store.get(key)).digest() == bytes(pack.digest)
    except NotFound:
        return False


def nothing_is_left_to_do() -> None:
    """What a scrub says after all is settled."""
    found = scrub_everything()
    assert (found.damaged, found.unread) == ([], [])
    assert not Pack.objects.filter(state=PackState.OPEN).exists()
    assert not Snapshot.objects.filter(state__in=["received", "damaged"]).exists()


def copy_of(directory: Path, to: Path) -> Path:
    """The same files in another place; used to begin again from them."""
    if to.exists():
        shutil.rmtree(to)
    return Path(shutil.copytree(directory, to))
