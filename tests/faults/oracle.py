"""Reads back what a ledger says was acknowledged, through the catalogue, from the packs on disk.

Runs as a process of its own on a platform's environment and prints one JSON object:
    python -m tests.faults.oracle TENANT LEDGER…
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import django


def main(tenant: str, ledgers: list[str]) -> None:
    django.setup()
    from backup_platform.catalog.models import Snapshot
    from backup_platform.catalog.reading import PackReader
    from backup_platform.tenants.models import Tenant
    from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
    from backup_platform.vaults.models import Vault
    from tests.faults.ledger import Ledger

    with without_tenant_scope("the oracle looks for its tenant"):
        owner = Tenant.objects.get(name=tenant)
    records, snapshots = [], []
    for path in ledgers:
        records += Ledger(Path(path)).records()
        snapshots += Ledger(Path(path)).snapshots()
    told = {bytes.fromhex(record.id): record for record in records}
    with tenant_scope(owner.pk):
        number = Vault.objects.get().number
        lost, other = [], 0
        for found in PackReader(number).read(list(told)):
            expected = told[found.id]
            if found.record is None or found.record.kind != expected.kind:
                lost.append(found.id.hex())
            elif found.record.digest.hex() != expected.digest:
                # Sealed twice (each sealing has its own nonce): another copy of the same chunk is as good.
                other += 1
        states = {row.pk.hex: str(row.state) for row in Snapshot.objects.filter(pk__in=snapshots)}
    print(
        json.dumps(
            {
                "records": len(told),
                "bytes": sum(record.length for record in told.values()),
                "other_copies": other,
                "lost": lost,
                "snapshots": states,
                "lost_snapshots": sorted(set(snapshots) - set(states)),
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
