"""What lies in a store, by its keys alone: taken whole before anything is written.

A listing that breaks off ends the rebuild: what was not listed would pass for what was never there (law 7).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from uuid import UUID

from backup_platform.storage.base import Store, StoreError

from .errors import RebuildRefused

HEX = r"[0-9a-f]{32}"
VAULT_KEY = re.compile(rf"(?P<tenant>{HEX})/(?P<vault>{HEX})/(?P<rest>.+)")
PACK = re.compile(rf"packs/[0-9a-f]{{2}}/(?P<uid>{HEX})\.pack")
OF_SNAPSHOT = re.compile(rf"roots/(?P<snapshot>{HEX})\.(?P<suffix>root|recipients|references)")
STATEMENT = re.compile(rf"statements/(?P<machine>{HEX})/(?P<number>\d{{20}})-(?P<snapshot>{HEX})\.statement")
MACHINE = re.compile(rf"machines/(?P<machine>{HEX})\.record")
RECORD = re.compile(r"vault-records/(?P<number>\d{1,18})\.record")
SECRET = re.compile(r"secrets/[0-9a-z-]+\.secret")
LIFECYCLE = re.compile(rf"lifecycle/(?P<snapshot>{HEX})/(?P<number>\d{{1,9}})\.lifecycle")
HEALED = re.compile(r"(?P<start>.+)\.healed-[1-9](?P<ending>\.[a-z]+)")
"""An object that took the place of a damaged one which could not be replaced itself."""
PASSED_OVER = re.compile(r"platform/.*|.*\.parity")
"""The platform's own backups, and parity, which upkeep finds by its packs."""


@dataclass
class VaultFiles:
    """The keys of one vault."""

    tenant_id: UUID
    vault_id: UUID
    packs: dict[UUID, str] = field(default_factory=dict)
    of_snapshots: dict[UUID, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Which of `root`, `recipients` and `references` each snapshot has."""
    statements: dict[UUID, dict[int, list[tuple[UUID, str]]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    """By machine and number: snapshot and key. Mostly one a number."""
    machines: dict[UUID, str] = field(default_factory=dict)
    records: dict[int, str] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=list)
    lifecycle: Counter[UUID] = field(default_factory=Counter)
    """The highest number of each snapshot's lifecycle records."""

    def take(self, rest: str, key: str) -> bool:
        """Note a key of this vault; False when it is none that we know."""
        if found := PACK.fullmatch(rest):
            self.packs[UUID(found["uid"])] = key
        elif found := OF_SNAPSHOT.fullmatch(rest):
            self.of_snapshots[UUID(found["snapshot"])].add(found["suffix"])
        elif found := STATEMENT.fullmatch(rest):
            one = (UUID(found["snapshot"]), key)
            self.statements[UUID(found["machine"])][int(found["number"])].append(one)
        elif found := MACHINE.fullmatch(rest):
            self.machines[UUID(found["machine"])] = key
        elif found := RECORD.fullmatch(rest):
            self.records[int(found["number"])] = key
        elif SECRET.fullmatch(rest):
            self.secrets.append(key)
        elif found := LIFECYCLE.fullmatch(rest):
            snapshot = UUID(found["snapshot"])
            self.lifecycle[snapshot] = max(self.lifecycle[snapshot], int(found["number"]))
        else:
            return False
        return True


@dataclass
class Survey:
    """Every vault of a store, and how many keys were none of ours."""

    vaults: dict[tuple[UUID, UUID], VaultFiles] = field(default_factory=dict)
    strangers: int = 0
    healed: dict[str, list[str]] = field(default_factory=dict)
    """By an object's usual key: the keys of those that are read when it is missing or wrong."""


def survey(store: Store) -> Survey:
    """List a store once, from end to end. RebuildRefused when the listing fails, or holds no vault."""
    found = Survey()
    try:
        for key in store.list():
            _take(found, key)
    except StoreError as fault:
        raise RebuildRefused(
            f"The store could not be listed to its end, so nothing was rebuilt: {fault} "
            "See that it is there whole, and run the command again."
        ) from None
    if not found.vaults:
        raise RebuildRefused("The store holds no vault at all. Check its address, and the prefix.")
    return found


def _take(found: Survey, key: str) -> None:
    if healed := HEALED.fullmatch(key):
        usual = healed["start"] + healed["ending"]
        found.healed.setdefault(usual, []).append(key)
        key = usual
    named = VAULT_KEY.fullmatch(key)
    if named is None:
        found.strangers += not PASSED_OVER.fullmatch(key)
        return
    ids = UUID(named["tenant"]), UUID(named["vault"])
    files = found.vaults.get(ids) or VaultFiles(*ids)
    if files.take(named["rest"], key):
        found.vaults[ids] = files
    else:
        found.strangers += not PASSED_OVER.fullmatch(key)
