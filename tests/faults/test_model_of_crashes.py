"""The catalogue's model (tests/catalog/test_model.py) with gateways that crash: two spools, and every unfinished state.

A crash may come before the rows of what was written, between the rows and the seal, in the middle of a record, or
between the pack's new name and its row; recovery may come at once, late, or twice.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from backup_platform.catalog import arrivals
from backup_platform.catalog.models import Pack, PackState
from backup_platform.catalog.stores import spool_path
from backup_platform.gateway.file_layer import FileLayer
from backup_platform.gateway.recovery import recover_spool
from backup_platform.gateway.spool import try_spool
from tests.catalog import stage
from tests.catalog.stage import BLOCK, CHUNK, PackFile, block_of, digest
from tests.catalog.test_model import Catalogue, pieces

GATEWAYS = ("spool-1", "spool-2")
EXAMPLES = int(os.environ.get("SOAK_EXAMPLES") or 3)
CRASHES = ("before rows", "in a record", "before seal", "before its row says sealed")


class TwoGateways(Catalogue):
    """Everything of the model, and crashes."""

    def teardown(self) -> None:
        try:
            for name in GATEWAYS:
                self.recover(name)
            assert not Pack.objects.filter(state=PackState.OPEN).exists()
            super().teardown()
        finally:
            stage.SPOOL = GATEWAYS[0]

    @rule(name=st.sampled_from(GATEWAYS))
    def connect_to(self, name: str) -> None:
        """What follows goes to this gateway, sessions that were begun at the other one included."""
        stage.SPOOL = name

    @precondition(lambda self: any(backup.begun for backup in self.backups))
    @rule(who=st.integers(0, 1), contents=pieces, at=st.sampled_from(CRASHES), with_block=st.booleans())
    def crash(self, who: int, contents: list[bytes], at: str, with_block: bool) -> None:
        """The gateway dies while records arrive. Only what has rows was acknowledged."""
        backup = self.backups[who]
        if not self._is_open(backup):
            return
        records = [(CHUNK, content) for content in contents]
        records += [(BLOCK, block_of(contents))] if with_block else []
        file = PackFile(backup.vault)
        begun = backup.begun
        pack = arrivals.open_pack(begun.session, begun.fence, uid=file.uid, spool=stage.SPOOL)
        rows = [file.append(kind, sealed) for kind, sealed in records]
        if at in ("before seal", "before its row says sealed"):
            arrivals.record_arrivals(begun.session, begun.fence, pack.pk, rows)
            for _, content in records:
                self.copies[digest(content)].add(pack.pk)
                self.contents[digest(content)] = content
        if at == "in a record":
            os.truncate(file.path, file.path.stat().st_size - 100)
        if at == "before its row says sealed":
            file.seal()

    @rule(name=st.sampled_from(GATEWAYS))
    def recover(self, name: str) -> None:
        """A gateway starts and finds this spool free. Whoever had a session there need not wait."""
        root = spool_path(name).parent
        if not (root / name).is_dir():
            return
        spool = try_spool(root, name)
        try:
            assert recover_spool(FileLayer(), spool) == []
        finally:
            spool.release()
        assert not Pack.objects.filter(state=PackState.OPEN, path__startswith=f"{name}/").exists()

    @precondition(lambda self: self._sealed())
    @rule(choice=st.integers(0, 9_999))
    def rot(self, choice: int) -> None:
        """As in the model, but of sealed packs: an open one that rots loses its end, which tests/gateway looks at."""
        sealed, everything = self._sealed(), self.copies
        self.copies = {record_id: packs & sealed for record_id, packs in everything.items()}
        before = {record_id: set(packs) for record_id, packs in self.copies.items()}
        Catalogue.rot(self, choice)
        for record_id, packs in before.items():
            everything[record_id] -= packs - self.copies[record_id]
        self.copies = everything

    def _sealed(self) -> set[int]:
        open_packs = set(Pack.objects.filter(state=PackState.OPEN).values_list("pk", flat=True))
        return {pack for packs in self.copies.values() for pack in packs} - open_packs


@pytest.mark.parametrize("steps", [25])
def test_crashes_of_two_gateways_in_any_order_agree_with_the_model(db, strongroom_home, steps: int) -> None:
    run_state_machine_as_test(
        TwoGateways,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
