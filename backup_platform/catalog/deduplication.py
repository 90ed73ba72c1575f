"""Deduplicate: a pack's arrivals move into its vault's index, one transaction a pack, under the vault's exclusive lock.

New ids get the vault's next numbers in id order. A copy that lost a race is kept as a spare. A damaged row is healed by
the new copy, a condemned one is revived. Afterwards the pack is placed in the local target.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from django.db import connection
from django.utils import timezone

from backup_platform.catalog.chunk_index import vault_lock
from backup_platform.catalog.models import Pack, PackState, Wanted
from backup_platform.catalog.placing import place_pack
from backup_platform.catalog.work import wake_waiting_snapshots
from backup_platform.vaults.models import Vault

logger = logging.getLogger(__name__)

CHECKED = (PackState.VERIFIED, PackState.DAMAGED)
NOBODY = "00000000-0000-0000-0000-000000000000"
"""The uploader of a pack whose machine's record is gone."""

HEAL_SQL = """
    UPDATE catalog_chunk c
       SET pack = a.pack, "offset" = a."offset", length = a.length, uploader = %(uploader)s, state = 0
      FROM (SELECT DISTINCT ON (id) * FROM catalog_arrival WHERE pack = %(pack)s ORDER BY id, "offset") a
     WHERE c.vault = %(vault)s AND c.id = a.id AND c.state = 2
    RETURNING c.id
"""
REVIVE_SQL = """
    UPDATE catalog_chunk c SET state = 0 FROM catalog_arrival a
     WHERE a.pack = %(pack)s AND c.vault = %(vault)s AND c.id = a.id AND c.state = 1
"""
INSERT_SQL = """
    INSERT INTO catalog_chunk (vault, id, number, kind, pack, "offset", length, uploader, state)
    SELECT vault, id, %(first)s + row_number() OVER (ORDER BY id) - 1, kind, pack, "offset", length, %(uploader)s, 0
      FROM (SELECT DISTINCT ON (id) * FROM catalog_arrival WHERE pack = %(pack)s ORDER BY id, "offset") a
     WHERE NOT EXISTS (SELECT 1 FROM catalog_chunk c WHERE c.vault = %(vault)s AND c.id = a.id)
     ORDER BY id
"""
SPARE_SQL = """
    INSERT INTO catalog_spare (vault, id, pack, "offset", length)
    SELECT a.vault, a.id, a.pack, a."offset", a.length
      FROM catalog_arrival a JOIN catalog_chunk c ON c.vault = %(vault)s AND c.id = a.id
     WHERE a.pack = %(pack)s AND (c.pack <> a.pack OR c."offset" <> a."offset")
     ORDER BY a.id
    ON CONFLICT DO NOTHING
    RETURNING length
"""
CLEAR_SQL = "DELETE FROM catalog_arrival WHERE pack = %(pack)s"


@dataclass(frozen=True, slots=True)
class Deduplicated:
    """What came of a pack: new records, copies that lost a race (and their bytes), damaged ids that it healed."""

    new: int = 0
    spares: int = 0
    spare_bytes: int = 0
    healed: int = 0


def deduplicate_pack(pack_id: int) -> Deduplicated | None:
    """Move a checked pack's arrivals into the index, then place it in the target. None when that was done before.

    Twice is as good as once, and each half is repeated where it broke off.
    """
    pack = Pack.objects.select_related("vault").filter(pk=pack_id, state__in=CHECKED).first()
    if pack is None:
        return None
    done = None
    if pack.deduplicated_at is None:
        with vault_lock(pack.vault.number, shared=False):
            done = _move_arrivals(pack)
    place_pack(pack.pk)
    return done


def _move_arrivals(pack: Pack) -> Deduplicated | None:
    locked = Pack.objects.select_for_update(of=("self",)).get(pk=pack.pk)
    if locked.deduplicated_at is not None:
        return None
    # Not FOR UPDATE: rows that refer to the vault (new sessions and packs) must not wait for us.
    vault = Vault.objects.select_for_update(of=("self",), no_key=True).get(pk=pack.vault_id)
    names = {
        "vault": vault.number,
        "pack": pack.pk,
        "uploader": pack.machine_id or NOBODY,
        "first": vault.next_number,
    }
    with connection.cursor() as cursor:
        cursor.execute(HEAL_SQL, names)
        healed = [bytes(row[0]) for row in cursor]
        cursor.execute(REVIVE_SQL, names)
        cursor.execute(INSERT_SQL, names)
        new = cursor.rowcount
        cursor.execute(SPARE_SQL, names)
        spares = [row[0] for row in cursor]
        cursor.execute(CLEAR_SQL, names)
    Vault.objects.filter(pk=vault.pk).update(next_number=vault.next_number + new)
    Pack.objects.filter(pk=pack.pk).update(deduplicated_at=timezone.now())
    found_again = _stop_wanting(pack)
    wake_waiting_snapshots(vault, damaged_too=bool(healed or found_again))
    return Deduplicated(new, len(spares), sum(spares), len(healed))


def _stop_wanting(pack: Pack) -> int:
    """Wanted ids that the index holds live again are wanted no more; how many rows went."""
    with connection.cursor() as cursor:
        cursor.execute(
            """DELETE FROM catalog_wanted w USING catalog_chunk c
                WHERE w.vault_id = %s AND c.vault = %s AND c.id = w.chunk_id AND c.state = 0""",
            [pack.vault_id, pack.vault.number],
        )
        return int(cursor.rowcount)


assert Wanted._meta.db_table == "catalog_wanted"
