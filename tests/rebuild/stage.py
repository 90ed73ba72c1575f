"""Machines that back up, a worker that does every job in this process, and the loss of all but store and kit."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from django.apps import apps
from django.db import connection
from django.utils import timezone

from agents.keys.kit import Kit
from backup_platform.jobs.models import Job, JobState
from backup_platform.jobs.routes import route_of
from backup_platform.tenants.scope import without_tenant_scope
from tests.end_to_end.stage import Agent, Said, World
from tests.end_to_end.trees import describe, make_tree
from tests.gateway.fixtures import RunningGateway

MACHINES = ("alpha", "beta")


def run_jobs(*, most: int = 500) -> int:
    """Do every due job of the workers, as workers would, until none is left."""
    from workers.app import app

    app.loader.import_default_modules()
    for done in range(most):
        with without_tenant_scope("the test's worker takes what is due"):
            due = Job.objects.filter(state=JobState.QUEUED, machine__isnull=True, next_attempt_at__lte=timezone.now())
            job = due.order_by("created_at").first()
        if job is None:
            return done
        app.tasks[route_of(job.kind, job.subject).task](str(job.pk))
    raise AssertionError("the work list does not come to an end")


@dataclass
class Aftermath:
    """What was backed up. `was`: by machine and number of the snapshot, what its source was like."""

    world: World
    agents: dict[str, Agent]
    sources: dict[str, Path]
    was: dict[tuple[str, int], dict[bytes, tuple]]
    ids: dict[tuple[str, int], str]

    @property
    def store(self) -> Path:
        return self.world.gateway.home / "store"


def make_aftermath(world: World, directory: Path) -> Aftermath:
    """Two machines: alpha with two snapshots, beta with one."""
    made = Aftermath(world, {}, {}, {}, {})
    for seed, name in enumerate(MACHINES):
        made.agents[name] = world.agent(name)
        made.sources[name] = directory / f"source-{name}"
        make_tree(made.sources[name], seed=seed)
        back_up(made, name, 1)
    changed = made.sources["alpha"]
    (changed / "many" / "file-007").write_bytes(b"changed")
    (changed / "new.bin").write_bytes(os.urandom(2_000_000))
    back_up(made, "alpha", 2)
    run_jobs()
    assert states() == {"verified": 3}
    return made


def back_up(made: Aftermath, name: str, number: int) -> None:
    """One more snapshot of a machine."""
    made.was[name, number] = describe(made.sources[name])
    said = made.agents[name].json("backup", made.sources[name], "--no-wait")
    assert said.code == 0, said
    made.ids[name, number] = said.summary["snapshot_id"]


def states() -> dict[str, int]:
    """How many snapshots are in which state."""
    from collections import Counter

    from backup_platform.catalog.models import Snapshot

    with without_tenant_scope("the test counts"):
        return dict(Counter(Snapshot.objects.values_list("state", flat=True)))


@dataclass
class Ruins:
    """What is left below `place`: the store, the kit, the machines with their homes, and a new home for a platform."""

    place: Path
    opened: Kit
    sources: dict[str, Path]
    was: dict[tuple[str, int], dict[bytes, tuple]]
    ids: dict[tuple[str, int], str]

    @property
    def store(self) -> Path:
        return self.place / "store"

    @property
    def kit(self) -> Path:
        return self.place / "world" / "kit"

    @property
    def home(self) -> Path:
        return self.place / "new-home"

    def agent(self, name: str) -> Agent:
        """One of the machines."""
        return Agent(self.place / name)

    def machine_id(self, name: str) -> str:
        """A machine's id, from its own files."""
        return str(json.loads((self.agent(name).home / "machine.json").read_bytes())["machine_id"])

    def copied_to(self, place: Path) -> Ruins:
        """The same in another place."""
        shutil.copytree(self.place, place)
        return replace(self, place=place)

    def with_kit(self, *arguments: Any, machine: str = "alpha", json: bool = True) -> Said:
        """Run the agent's command on a computer that knows nothing, with the store and the kit."""
        nobody = Agent(self.place / "nobody")
        kit = ("--from-target", self.store, "--kit", self.kit)
        more = ("--machine", machine) if machine else ()
        return (nobody.json if json else nobody.run)(*arguments, *kit, *more)

    def restored(self, out: Path, machine: str) -> dict[bytes, tuple]:
        """What a restore brought."""
        return describe(out / self.sources[machine].relative_to("/"))

    def pack(self, number: int = 0) -> Path:
        """One of the packs."""
        return sorted(self.store.rglob("*.pack"))[number]


def take_away(aftermath: Aftermath, place: Path) -> Ruins:
    """Copy store, kit and machines. Database and home go afterwards."""
    world = aftermath.world
    world.gateway.stop()
    shutil.copytree(aftermath.store, place / "store")
    shutil.copytree(world.kit_directory, place / "world" / "kit")
    for name, agent in aftermath.agents.items():
        shutil.copytree(agent.home, place / name)
    return Ruins(place, world.kit, aftermath.sources, aftermath.was, aftermath.ids)


def empty_database() -> None:
    """Every row of ours goes, the chunk tables included."""
    tables = {model._meta.db_table for model in apps.get_models(include_auto_created=True)} - {"django_migrations"}
    present = set(connection.introspection.table_names())
    names = ", ".join(f'"{name}"' for name in sorted(tables & present))
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {names}, catalog_chunk, catalog_arrival, catalog_spare RESTART IDENTITY CASCADE")


def new_gateway(home: Path) -> RunningGateway:
    """A gateway of the rebuilt platform, with an authority of its own. The caller stops it."""
    return RunningGateway(home).start()


def flip(file: Path, at: int) -> None:
    """Turn one bit around; counted from the end when negative."""
    data = bytearray(file.read_bytes())
    data[at] ^= 0x10
    file.chmod(0o600)
    file.write_bytes(data)


def spoil_and_heal(ruins: Ruins) -> None:
    """Every pack, root, list and statement is damaged, and a right one lies beside it under a healed name."""
    for ending in ("pack", "root", "recipients", "references", "statement"):
        for path in list(ruins.store.rglob(f"*.{ending}")):
            shutil.copy(path, path.with_name(f"{path.stem}.healed-1.{ending}"))
            flip(path, path.stat().st_size // 2)
