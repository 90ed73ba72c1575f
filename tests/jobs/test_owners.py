"""Names of who has something in hand: a process that died here is known, and of others nothing is guessed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from django.utils import timezone

from backup_platform.catalog import leases
from backup_platform.catalog.errors import RecordUnavailable
from backup_platform.catalog.leases import pack_lease, pack_leases
from backup_platform.catalog.models import Pack
from backup_platform.jobs import owners, services, sweeping
from backup_platform.jobs.models import Job
from backup_platform.jobs.owners import is_gone, new_owner
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from tests.catalog.stage import Backup, contents, make_machine, make_vault

TAKE = "from backup_platform.jobs.owners import new_owner; print(new_owner(), flush=True); input()"


@pytest.fixture
def somebody() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Another process of this machine, and the name it took."""
    process = subprocess.Popen(
        [sys.executable, "-c", TAKE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    try:
        yield process.stdout.readline().strip(), process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def dead(somebody) -> str:
    name, process = somebody
    process.send_signal(signal.SIGKILL)
    process.wait()
    return name


@pytest.fixture
def pack(db, strongroom_home, sent) -> Iterator[Pack]:
    vault = make_vault("north", 7005)
    with tenant_scope(vault.tenant_id):
        Backup(make_machine(vault, "alpha")).run(contents(2))
        yield Pack.objects.get()


def is_free(pack: Pack) -> bool:
    try:
        with pack_lease(pack.pk) as held:
            return held.pk == pack.pk
    except RecordUnavailable:
        return False


def test_a_process_is_gone_once_it_is_dead_and_not_before(somebody):
    name, process = somebody
    assert not is_gone(name)
    process.kill()
    process.wait()
    assert is_gone(name)


def test_names_are_short_and_never_the_same():
    names = {new_owner() for _ in range(100)}
    assert len(names) == 100
    assert max(map(len, names)) <= 64
    assert not any(map(is_gone, names))


@pytest.mark.parametrize("change", ["place", "machine", "nothing", "old form", "no number", "zero"])
def test_of_what_is_not_known_here_nothing_is_guessed(dead, change, monkeypatch):
    machine, place, process, chance = dead.split(":")
    forms = {
        "place": f"{machine}:{'0' * 12}:{process}:{chance}",
        "machine": dead,
        "nothing": "",
        "old form": f"{machine}:{process}:{chance}",
        "no number": f"{machine}:{place}:-5:{chance}",
        "zero": f"{machine}:{place}:0:{chance}",
    }
    if change == "machine":  # the same row, read after a restart or in another container
        monkeypatch.setattr(owners, "_here", lambda: "f" * 12)
    assert not is_gone(forms[change])


def test_where_the_system_does_not_tell_nobody_is_called_dead(dead, monkeypatch, tmp_path):
    owners._here.cache_clear()
    monkeypatch.setattr(owners, "BOOT", tmp_path / "none")
    try:
        assert not is_gone(dead)
        assert not is_gone(new_owner())
    finally:
        owners._here.cache_clear()


def test_a_job_of_a_process_that_died_is_free_at_the_next_sweep(pack, dead, sent):
    with without_tenant_scope("the sweep's"):
        job = Job.objects.get(kind="verify", subject=f"pack:{pack.pk}")
        assert services.claim(job.pk, owner=dead)
        assert sweeping.sweep().freed == 1
        job.refresh_from_db()
        assert (job.state, job.attempts, job.lost, job.lease_owner) == ("queued", 0, 1, "")
        claimed = services.claim(job.pk)
        assert claimed is not None
        assert sweeping.sweep().freed == 0, "this one lives"


def test_a_pack_that_a_dead_process_held_is_free_at_once(pack, dead):
    until = timezone.now() + leases.LEASE
    Pack.objects.update(lease_owner=dead, lease_until=until)
    assert is_free(pack)
    Pack.objects.update(lease_owner=dead, lease_until=until)
    with pack_leases([pack.pk]) as all_held:
        assert [held.pk for held in all_held] == [pack.pk]


def test_a_pack_that_a_living_process_holds_is_not(pack, somebody):
    name, _ = somebody
    Pack.objects.update(lease_owner=name, lease_until=timezone.now() + leases.LEASE)
    assert not is_free(pack)
    with pack_leases([pack.pk]) as held:
        assert held == []
    assert os.getpid() != int(name.split(":")[2])
