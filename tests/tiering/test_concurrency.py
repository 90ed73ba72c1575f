"""Restores go on while packs leave, lose their files and come home again."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from backup_platform.catalog.models import Pack
from backup_platform.catalog.reading import PackReader
from backup_platform.storage.memory import MemoryStore
from backup_platform.tenants.scope import tenant_scope
from backup_platform.tiering.evicting import GRACE, unlink_due
from backup_platform.tiering.models import EvictWhen
from backup_platform.tiering.recalling import recall
from tests.catalog.stage import digest
from tests.tiering.stage import local_files, ticks

ROUNDS = 3
JOIN_SECONDS = 120


class Reader(threading.Thread):
    """Reads everything again and again, as a gateway's threads do."""

    def __init__(self, vault, data: list[bytes]) -> None:
        super().__init__(daemon=True)
        self.vault, self.data = vault, data
        self.over, self.read_once = threading.Event(), threading.Event()
        self.faults: list[str] = []

    def run(self) -> None:
        try:
            with tenant_scope(self.vault.tenant_id):
                while not self.over.is_set():
                    self._read()
                    self.read_once.set()
        except Exception as fault:  # noqa: BLE001 (told to the test)
            self.faults.append(repr(fault))
        finally:
            self.read_once.set()
            connection.close()

    def _read(self) -> None:
        ids = [digest(each) for each in self.data]
        found = {one.id: one.record for one in PackReader(self.vault.number).read(ids)}
        wrong = [each for each in self.data if found[digest(each)] is None or found[digest(each)].sealed != each]
        if wrong:
            self.faults.append(f"{len(wrong)} records did not come back")


@pytest.mark.django_db(transaction=True)
def test_restores_never_notice_that_packs_leave_and_come_home(pack, vault, data, make_target, make_rule):
    make_rule(make_target(store=MemoryStore()), evict_when=EvictWhen.DAYS)
    readers = [Reader(vault, data) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for _ in range(ROUNDS):
            ticks(lambda: Pack.objects.get().place == "remote", most=10)
            unlink_due(timezone.now() + GRACE + timedelta(minutes=1))
            assert not local_files()
            for reader in readers:
                reader.read_once.clear()
                assert reader.read_once.wait(JOIN_SECONDS)
            assert recall(pack.pk)
            assert len(local_files()) == 1
    finally:
        for reader in readers:
            reader.over.set()
        for reader in readers:
            reader.join(JOIN_SECONDS)
    assert [reader.faults for reader in readers] == [[], []]
