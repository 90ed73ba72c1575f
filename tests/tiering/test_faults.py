"""Targets that fail by chance, are away for an hour, or lose their bucket; and an end in the middle of every step."""

from __future__ import annotations

import io
from collections import Counter
from datetime import datetime, timedelta
from random import Random

import pytest
from blake3 import blake3
from django.utils import timezone

from backup_platform.catalog.models import Copy, Pack
from backup_platform.jobs.models import Job
from backup_platform.notifications.models import Alert
from backup_platform.storage.base import StoreUnavailable
from backup_platform.storage.memory import MemoryStore
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.tiering.evicting import GRACE, unlink_due
from backup_platform.tiering.models import EvictWhen, Patience
from tests.catalog.stage import contents
from tests.tiering.stage import comes_back, forget_cache, local_files, run_all, tick, ticks

LATER = GRACE + timedelta(minutes=1)
PACKS = 8


class Dicey(MemoryStore):
    """One call in ten goes wrong: refused, answered too late, cut short, spoilt on its way. Nothing is put over."""

    def __init__(self, seed: int, share: float = 0.1) -> None:
        super().__init__()
        self.dice, self.share = Random(seed), share
        self.read_whole: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()

    def _goes_wrong(self, *ways: str) -> str:
        if self.dice.random() >= self.share:
            return ""
        way = self.dice.choice(ways)
        self.faults[way] += 1
        if way == "refused":
            raise StoreUnavailable("500")
        return way

    def put(self, key, data, *, sha256=None, only_if_absent=True):
        assert only_if_absent, "nothing is ever put over something"
        way = self._goes_wrong("refused", "late")
        super().put(key, data, sha256=sha256, only_if_absent=only_if_absent)
        if way:
            raise StoreUnavailable("timeout")

    def get(self, key, offset=0, length=None):
        return self._spoilt(super().get(key, offset, length), self._goes_wrong("refused", "short", "flipped"))

    def open(self, key):
        way = self._goes_wrong("refused", "short", "flipped")
        self.read_whole[key] += not way
        return io.BytesIO(self._spoilt(self._find(key), way))

    def size(self, key):
        self._goes_wrong("refused")
        return super().size(key)

    def _spoilt(self, data: bytes, way: str) -> bytes:
        if way == "short":
            return data[: len(data) // 2]
        if way == "flipped" and data:
            place = self.dice.randrange(len(data))
            return data[:place] + bytes([data[place] ^ 8]) + data[place + 1 :]
        return data


@pytest.fixture
def many(backup) -> list[list[bytes]]:
    """Several packs and what is in them."""
    kept = []
    for _ in range(PACKS):
        kept.append(contents(3, 9_000))
        backup.run(*kept)
        run_all()
    assert Pack.objects.count() == PACKS
    return kept


@pytest.mark.parametrize("seed", range(3))
def test_one_call_in_ten_fails_and_everything_tiers_in_the_end(many, vault, make_target, make_rule, monkeypatch, seed):
    store = Dicey(seed)
    make_rule(make_target(store=store), evict_when=EvictWhen.DAYS)
    from backup_platform.tiering import evicting

    switch = evicting._switch

    def watched(pack, confirmed, needed):
        key = Copy.objects.get(pk=confirmed[0]).key
        assert store.read_whole[key] >= 2, "read back after the put, and again before the local file may go"
        return switch(pack, confirmed, needed)

    monkeypatch.setattr(evicting, "_switch", watched)
    ticks(lambda: not Pack.objects.exclude(place="remote").exists(), most=150)
    assert sum(store.faults.values()) > 0
    unlink_due(timezone.now() + LATER)
    assert not local_files()
    for pack in Pack.objects.all():
        assert blake3(store.objects[pack.path]).digest() == bytes(pack.digest)
    store.share = 0.0
    forget_cache()
    assert all(comes_back(vault, data) for data in many)


class Killed(BaseException):
    """The process is gone: nothing after this is done."""


class Fatal(MemoryStore):
    """Ends the process at a certain call, before or after its effect."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.fatal, self.after = 0, 0, False

    def _do(self, call):
        self.calls += 1
        if self.calls == self.fatal and not self.after:
            raise Killed
        result = call()
        if self.calls == self.fatal:
            raise Killed
        return result

    def put(self, key, data, *, sha256=None, only_if_absent=True):
        assert only_if_absent
        return self._do(lambda: MemoryStore.put(self, key, data, sha256=sha256))

    def open(self, key):
        return self._do(lambda: MemoryStore.open(self, key))

    def get(self, key, offset=0, length=None):
        return self._do(lambda: MemoryStore.get(self, key, offset, length))


def as_after_a_kill() -> None:
    """What a killed worker leaves: a running job and a pack's lease, both over by now."""
    over = timezone.now() - timedelta(seconds=1)
    with without_tenant_scope("test"):
        Job.objects.filter(state="running").update(state="queued", next_attempt_at=over, lease_owner="", attempts=0)
        Pack.objects.update(lease_owner="dead", lease_until=over)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("call", range(1, 7))
def test_an_end_in_the_middle_of_any_step_is_gone_on_from(pack, vault, data, make_target, make_rule, call, after):
    store = Fatal()
    store.fatal, store.after = call, after
    make_rule(make_target(store=store), evict_when=EvictWhen.DAYS)
    for _ in range(3):
        try:
            tick()
        except Killed:
            assert comes_back_here(pack), "the local file stands while anything is unfinished"
            as_after_a_kill()
    ticks(lambda: Pack.objects.filter(place="remote").exists(), most=10)
    unlink_due(timezone.now() + LATER)
    forget_cache()
    assert comes_back(vault, data)
    packs = [key for key in store.objects if key.endswith(".pack")]
    assert len(packs) == 1


def comes_back_here(pack: Pack) -> bool:
    return [path.stat().st_size for path in local_files()] == [pack.bytes]


@pytest.mark.parametrize("step", ["_put", "_mark", "_switch"])
def test_an_end_between_the_rows_is_gone_on_from(pack, vault, data, make_target, make_rule, monkeypatch, step):
    from backup_platform.tiering import copying, evicting

    where = evicting if step == "_switch" else copying
    real, ends = getattr(where, step), [True]

    def dies_once(*arguments, **named):
        result = real(*arguments, **named)
        if ends.pop() if ends else False:
            raise Killed
        return result

    monkeypatch.setattr(where, step, dies_once)
    make_rule(make_target(store=MemoryStore()), evict_when=EvictWhen.DAYS)
    with pytest.raises(Killed):
        tick()
    as_after_a_kill()
    ticks(lambda: Pack.objects.filter(place="remote").exists(), most=10)
    unlink_due(timezone.now() + LATER)
    forget_cache()
    assert comes_back(vault, data)


class Clock:
    """A time that a test sets."""

    def __init__(self) -> None:
        self.at: datetime = timezone.now()

    def __call__(self) -> datetime:
        return self.at

    def on(self, **more: float) -> None:
        self.at += timedelta(**more)


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("django.utils.timezone.now", clock)
    return clock


class Away(MemoryStore):
    """A service that is away, and how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.away, self.asked = False, 0

    def _find(self, key):
        self._check()
        return super()._find(key)

    def put(self, key, data, *, sha256=None, only_if_absent=True):
        self._check()
        super().put(key, data, sha256=sha256, only_if_absent=only_if_absent)

    def _check(self):
        self.asked += 1
        if self.away:
            raise StoreUnavailable("Connection refused.")


def test_a_target_that_is_away_for_an_hour_is_asked_less_and_less_and_catches_up(
    many, vault, backup, make_target, make_rule, clock
):
    store = Away()
    target = make_target(store=store)
    make_rule(target)
    store.away = True
    for _ in range(240):  # an hour of ticks
        tick()
        clock.on(seconds=15)
    assert store.asked < 60, f"{store.asked} calls in an hour of outage"
    with without_tenant_scope("test"):
        target.refresh_from_db()
        assert target.away_since is not None
        assert Alert.objects.filter(subject=f"target:{target.pk}", resolved_at__isnull=True).count() == 1
    more = contents(3, 9_000)
    backup.run(*many, more)
    run_all()
    assert Pack.objects.filter(place="target").count() == PACKS + 1, "backups go on"
    store.away = False
    for _ in range(60):
        clock.on(seconds=15)
        tick()
    assert Copy.objects.filter(state="good").count() == PACKS + 1
    with without_tenant_scope("test"):
        target.refresh_from_db()
        assert target.away_since is None
        assert not Alert.objects.filter(subject=f"target:{target.pk}", resolved_at__isnull=True).exists()
        assert not Patience.objects.exists()


def test_a_target_that_forgot_everything_costs_no_local_file(many, vault, make_target, make_rule):
    """The bucket was deleted and made anew, empty: what is here stays, what was good is so no more."""
    store = MemoryStore()
    rule = make_rule(make_target(store=store))
    ticks(lambda: Copy.objects.filter(state="good").count() == PACKS, most=5)
    store.objects.clear()
    rule.evict_when = EvictWhen.DAYS
    with without_tenant_scope("test"):
        rule.save()
    tick()
    assert not Pack.objects.exclude(place="target").exists()
    assert len(local_files()) == PACKS
    assert all(comes_back(vault, data) for data in many)
    ticks(lambda: not Pack.objects.exclude(place="remote").exists(), most=20)
    assert len([key for key in store.objects if key.endswith(".pack")]) == PACKS, "and it is filled again"
