"""Whose snapshots a store holds: machines by their records, which the kit's secret vouches for, and by name.

A machine's name stands in its roots only, sealed: so nobody but the kit's holder learns it from a store.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from agents.engine.reading import LATEST, SnapshotReader, Trust
from agents.errors import Damage, NotFound, UsageFault
from agents.from_target.link import StoreLink
from agents.from_target.vault import StoredVault
from agents.keys.faults import MachineRecordFault
from agents.keys.machine_record import record_epoch
from agents.keys.wrapped_secret import unwrap_secret

if TYPE_CHECKING:
    from agents.keys.kit import Kit

SHORTEST_ID = 8


class StoredMachines:
    """The machines of one vault in a store, opened with its kit."""

    def __init__(self, vault: StoredVault, kit: Kit, tell: Callable[[str], None]) -> None:
        self._vault = vault
        self._kit = kit
        self._tell = tell
        opened = (unwrap_secret(item, kit.opening, vault_id=vault.vault_id) for item in kit.wrapped_secrets)
        self._secrets = dict(opened)

    def links(self) -> list[StoreLink]:
        """A link to each machine that has a record, its name found out; by name."""
        links = [self._link(machine_id, record) for machine_id, record in self._vault.machine_records().items()]
        return sorted(links, key=lambda link: (link.name, link.machine_id))

    def choose(self, wanted: str) -> StoreLink:
        """The machine of this name or id (at least 8 digits); "" when there is only one. UsageFault, NotFound."""
        records = self._vault.machine_records()
        ids = [each for each in records if len(wanted) >= SHORTEST_ID and each.hex().startswith(wanted.lower())]
        if len(ids) == 1:
            return self._link(ids[0], records[ids[0]])
        links = self.links()
        found = [link for link in links if link.name == wanted] if wanted else links
        if len(found) == 1:
            return found[0]
        known = ", ".join(f"{link.name or '?'} ({link.machine_id.hex()[:12]})" for link in links[:20])
        if not links:
            raise NotFound("The store holds no machine of this vault.", "Check that this is the right store and kit.")
        if not found:
            raise NotFound(f"The store holds no machine '{wanted}'.", f"It holds {known}.")
        raise UsageFault("There are several machines to choose from.", f"Name one, or its id: {known}.")

    def reader(self, link: StoreLink) -> SnapshotReader:
        """A reader that believes the kit alone."""
        return SnapshotReader(link, self._trust(link.record))

    def _trust(self, record: bytes) -> Trust:
        epoch = record_epoch(record)
        if epoch not in self._secrets:
            raise MachineRecordFault(f"The kit has no secret of epoch {epoch}, under which the machine enrolled.")
        return Trust(
            tenant_id=self._vault.tenant_id,
            vault_id=self._vault.vault_id,
            dedup_secret=self._secrets[epoch],
            key=self._kit.opening,
        )

    def _link(self, machine_id: bytes, record: bytes) -> StoreLink:
        link = StoreLink(self._vault, machine_id, record, self._kit.opening, self._tell)
        try:
            reader = self.reader(link)
            link.name = reader.open(reader.find(LATEST)).body.machine_name
        except NotFound:
            pass  # enrolled, and never backed up
        except (Damage, MachineRecordFault) as fault:
            self._tell(f"The name of machine {machine_id.hex()[:12]} cannot be read: {fault.what}")
        return link
