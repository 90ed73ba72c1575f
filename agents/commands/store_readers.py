"""Readers over a store instead of a gateway: `--from-target`, with the kit or with this machine's own keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from agents.commands import passphrases
from agents.commands.output import Output
from agents.commands.readers import Scope, own_trust
from agents.from_target.link import StoreLink
from agents.from_target.machines import StoredMachines
from agents.from_target.stores import open_store
from agents.from_target.vault import StoredVault

if TYPE_CHECKING:
    from agents.engine.reading import SnapshotReader


@contextmanager
def reading_store(scope: Scope, output: Output) -> Iterator[tuple[SnapshotReader, StoreLink]]:
    """A reader of one machine's snapshots: of `scope.machine` with the kit, else of this machine. Raises AgentError."""
    with ExitStack() as stack:
        if scope.kit is None:
            link, reader = _own(scope.from_target, output)
        else:
            machines = _machines(scope.from_target, scope.kit, output)
            link = machines.choose(scope.machine)
            reader = machines.reader(link)
        stack.enter_context(closing(link))
        yield reader, link


@contextmanager
def reading_all(scope: Scope, output: Output) -> Iterator[list[SnapshotReader]]:
    """A reader for each machine in the store that the kit vouches for, by name. Raises AgentError."""
    assert scope.kit is not None
    machines = _machines(scope.from_target, scope.kit, output)
    with ExitStack() as stack:
        links = [stack.enter_context(closing(link)) for link in machines.links()]
        yield [machines.reader(link) for link in links]


def _machines(place: str, kit: Path, output: Output) -> StoredMachines:
    from agents.keys.kit import open_kit

    store = open_store(place)
    opened = open_kit(kit, passphrases.ask())
    return StoredMachines(StoredVault(store, opened.vault_record.vault_id), opened, output.note)


def _own(place: str, output: Output) -> tuple[StoreLink, SnapshotReader]:
    from agents.engine.reading import SnapshotReader
    from agents.state import AgentHome

    home = AgentHome()
    machine, trust = home.machine(), own_trust(home)
    vault = StoredVault(open_store(place), machine.vault_id)
    link = StoreLink(vault, machine.machine_id, trust.own_record, trust.key, output.note, machine.machine_name)
    return link, SnapshotReader(link, trust)
