"""A platform's backup may take hours, as long as it goes on; what stands still, or lost its claim, ends."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import BinaryIO, cast

import pytest
from django.conf import settings
from django.db import connection, transaction

from backup_platform.rebuilding.errors import RebuildRefused
from backup_platform.rebuilding.platform_backup import beating, database, putting
from backup_platform.storage.base import COPY_SIZE
from backup_platform.targets.home import home_target
from backup_platform.targets.opening import open_store
from tests.rebuild.test_platform_backup import operator

__all__ = ["operator"]

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_dump_that_stands_still_is_ended(strongroom_home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(database, "STALL", 1.0)
    with transaction.atomic(), connection.cursor() as cursor, tempfile.TemporaryFile() as out:
        cursor.execute("LOCK TABLE tenants_tenant IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(RebuildRefused, match="stood still"):
            database.dump_database(out, bool)


@pytest.mark.parametrize("beats_before", [2, 12])
def test_a_backup_that_lost_its_claim_ends_and_puts_nothing(
    strongroom_home: Path, operator: Path, monkeypatch: pytest.MonkeyPatch, beats_before: int
):
    """In the dump and in the packing: what is not renewed for two minutes goes to somebody else."""
    monkeypatch.setattr(beating, "EVERY", -1.0)
    beats = iter(range(beats_before))

    def beat() -> None:
        if next(beats, None) is None:
            raise RebuildRefused("The claim was lost.")

    with pytest.raises(RebuildRefused, match="claim was lost"):
        putting.back_up_platform("test", beat)
    assert putting.backups_in(open_store(home_target())) == []


def test_a_claim_is_kept_while_a_target_takes_the_bytes(monkeypatch: pytest.MonkeyPatch, strongroom_home: Path):
    monkeypatch.setattr(beating, "EVERY", -1.0)
    beats: list[int] = []
    file = beating.BeatingReader(io.BytesIO(bytes(5 * COPY_SIZE)), lambda: beats.append(1))
    open_store(home_target()).put("platform/x/y.backup", cast("BinaryIO", file))
    assert len(beats) >= 5


def test_the_task_is_not_ended_by_the_clock_of_others():
    from workers.app import app

    app.loader.import_default_modules()
    task = app.tasks["strongroom.back_up_platform"]
    assert task.soft_time_limit >= 20 * settings.CELERY_TASK_SOFT_TIME_LIMIT
    assert task.time_limit > task.soft_time_limit
