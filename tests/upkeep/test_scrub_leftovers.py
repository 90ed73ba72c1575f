"""What power cuts left in a vault's folders goes when its records are scrubbed, and how much it was is written down."""

from __future__ import annotations

import time

import pytest

from backup_platform.audit.models import Entry
from backup_platform.catalog.models import SnapshotCopy
from backup_platform.jobs.models import Job, JobKind
from backup_platform.jobs.services import enqueue
from backup_platform.storage import local_leftovers
from backup_platform.storage.base import StoreUnavailable
from backup_platform.upkeep import scrub_objects
from backup_platform.upkeep.errors import TurnOver
from backup_platform.upkeep.scrub_objects import scrub_vault
from tests.catalog.stage import run_jobs
from tests.upkeep.scrub_stage import copy_objects, make_target, root_of

NAME = ".new-0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def the_day_after_tomorrow(monkeypatch):
    """For the age of leftovers only."""
    real = time.time

    class Clock:
        @staticmethod
        def time() -> float:
            return real() + 2 * local_leftovers.OLD_SECONDS

    monkeypatch.setattr(local_leftovers, "time", Clock)


def leave(stored, target=None, *, folder: str = "roots", vault=None) -> None:
    below = root_of(target) / stored.vault.tenant_id.hex / (vault or stored.vault.pk.hex) / folder
    below.mkdir(parents=True, exist_ok=True)
    (below / NAME).write_bytes(bytes(1000))


def test_leftovers_go_at_home_and_at_directories_and_are_audited(stored):
    cloud = make_target(stored.vault, "cloud")
    copy_objects(stored.snapshot, cloud)
    for target in (None, cloud):
        leave(stored, target)
        leave(stored, target, folder="packs/ab")
    found = scrub_vault(stored.vault.pk)
    assert (found.leftovers, found.leftover_bytes, found.seen, found.unread) == (4, 4000, [], [])
    rows = Entry.objects.filter(verb="store.leftovers_removed").order_by("id")
    assert [(row.detail["place"], row.detail["files"], row.detail["bytes"]) for row in rows] == [
        ("this server", 2, 2000), ("cloud", 2, 2000),
    ]  # fmt: skip
    again = scrub_vault(stored.vault.pk)
    assert (again.leftovers, Entry.objects.filter(verb="store.leftovers_removed").count()) == (0, 2)


def test_another_vaults_folders_are_that_vaults_business(stored):
    leave(stored, vault="0" * 32)
    assert scrub_vault(stored.vault.pk).leftovers == 0


def test_the_job_of_a_vault_keeps_the_figures(stored):
    leave(stored)
    made = enqueue(JobKind.SCRUB, subject=f"vault:{stored.vault.pk}", tenant_id=stored.vault.tenant_id)
    run_jobs()
    job = Job.objects.get(pk=made)
    assert (job.state, job.progress["leftovers"], job.progress["leftover_bytes"]) == ("done", 1, 1000)


def test_a_directory_that_cannot_be_read_leaves_the_vault_due(stored, monkeypatch):
    def refuse(*arguments, **more):
        raise StoreUnavailable("The disk is away.")

    monkeypatch.setattr(scrub_objects, "remove_leftovers", refuse)
    assert scrub_vault(stored.vault.pk).unread == ["this server: The disk is away."]


def test_a_turn_that_is_over_ends_it_and_the_next_one_goes_on(stored):
    leave(stored)

    def over() -> None:
        raise TurnOver

    found = scrub_vault(stored.vault.pk, over)
    assert (found.leftovers, found.unread) == (0, [])
    assert SnapshotCopy.objects.count() == 0
    assert scrub_vault(stored.vault.pk).leftovers == 1
