"""Arrivals: what has been made durable in an open pack, written down before it is acknowledged (law 1).

The order is law: bytes in the file, fdatasync, these rows, acknowledgement. Every write here touches the session's row
under its fence in the same transaction, so nothing of an older connection gets in behind a newer one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from backup_platform.catalog import damage
from backup_platform.catalog.errors import Fenced
from backup_platform.catalog.models import Pack, PackPlace, PackState, Session, SessionState
from backup_platform.catalog.sessions import LEASE
from backup_platform.catalog.work import ask_to_verify

MAX_ARRIVALS = 65_536
"""Rows of one call; a flush of 16 MiB of the smallest records stays far under it."""

INSERT_SQL = """
    INSERT INTO catalog_arrival (vault, id, kind, session, pack, "offset", length)
    SELECT %(vault)s, a.id, a.kind, %(session)s, %(pack)s, a."offset", a.length
      FROM unnest(%(ids)s::bytea[], %(kinds)s::smallint[], %(offsets)s::bigint[], %(lengths)s::integer[])
           AS a(id, kind, "offset", length)
     ORDER BY a.id
    ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One durable record of a pack: `offset` is the first of its `length` sealed bytes."""

    kind: int
    id: bytes
    offset: int
    length: int


def open_pack(session_id: UUID, fence: int, *, uid: UUID, spool: str) -> Pack:
    """Write down a new open pack of a session (file `<spool>/<uid>.open`). Raises Fenced."""
    with transaction.atomic():
        session = _touch(session_id, fence)
        return Pack.objects.create(
            uid=uid,
            tenant_id=session.tenant_id,
            vault_id=session.vault_id,
            machine_id=session.machine_id,
            session=session,
            spool=spool,
            path=f"{spool}/{uid.hex}.open",
        )


def record_arrivals(session_id: UUID, fence: int, pack_id: int, rows: Sequence[Arrival]) -> None:
    """Write a row per durable record, in id order. Repeating a call changes nothing.

    Raises Fenced when the session was taken over or is no longer open, ValueError when the pack is not the session's
    or is sealed.
    """
    if len(rows) > MAX_ARRIVALS:
        raise ValueError(f"At most {MAX_ARRIVALS} arrivals in one call, not {len(rows)}.")
    with transaction.atomic():
        session = _touch(session_id, fence)
        # The share lock keeps a concurrent seal from closing the pack under these rows.
        pack = Pack.objects.select_for_update(of=("self",)).filter(pk=pack_id, session=session).first()
        if pack is None or pack.state != PackState.OPEN:
            raise ValueError("Arrivals can be recorded only in an open pack of their own session.")
        _insert(session, pack_id, rows)


def seal_pack(pack_id: int, digest: bytes, size: int, records: int) -> None:
    """Write down that a pack's file is complete (`<uid>.pack`, renamed and fsynced), and have it verified.

    Repeating it changes nothing; no fence, because recovery seals for sessions that are gone.
    """
    with transaction.atomic():
        pack = Pack.objects.select_for_update(of=("self",)).get(pk=pack_id)
        if pack.state != PackState.OPEN:
            return
        pack.state = PackState.SEALED
        pack.path = f"{pack.spool}/{pack.uid.hex}.pack"
        pack.digest, pack.bytes, pack.records, pack.sealed_at = digest, size, records, timezone.now()
        pack.save(update_fields=["state", "path", "digest", "bytes", "records", "sealed_at"])
        ask_to_verify(pack)


def discard_pack(pack_id: int) -> None:
    """Forget an open pack that nothing arrived in; ValueError when it has arrivals or is sealed. Repeatable."""
    with transaction.atomic():
        pack = Pack.objects.select_for_update(of=("self",)).filter(pk=pack_id).first()
        if pack is None:
            return
        if pack.state != PackState.OPEN or rows_of_pack(pack_id):
            raise ValueError("Only an open pack without arrivals can be discarded.")
        pack.delete()


def rows_of_pack(pack_id: int) -> list[Arrival]:
    """The arrival rows of one pack by offset (at most some 900,000, what 64 MiB of the smallest records would be)."""
    pack = Pack.objects.filter(pk=pack_id).first()  # the scope's check
    return [] if pack is None else _rows(pack_id)


def rows_to_finish(pack_id: int) -> list[Arrival] | None:
    """The arrival rows of an open pack that nobody writes to any more; None when it is not open (any more).

    Waits for the row's lock: a flush or a seal whose answer was lost may still be on the way to its commit, and rows
    that come after the look would lose their bytes.
    """
    with transaction.atomic():
        pack = Pack.objects.select_for_update(of=("self",)).filter(pk=pack_id).first()
        if pack is None or pack.state != PackState.OPEN:
            return None
        return _rows(pack_id)


def report_loss(pack_id: int, ids: Sequence[bytes]) -> None:
    """A row without bytes was found: take these ids of the pack out of what counts as present, and want them again.

    Repeatable. A sealed pack becomes damaged.
    """
    pack = Pack.objects.select_related("vault").filter(pk=pack_id).first()
    if pack is not None and ids:
        damage.report_loss(pack, ids)


def open_packs(spool: str) -> list[Pack]:
    """The open packs of one gateway's spool, oldest first; at most one per session that was being written."""
    return list(Pack.objects.filter(spool=spool, state=PackState.OPEN, place=PackPlace.SPOOL).order_by("id"))


def _touch(session_id: UUID, fence: int) -> Session:
    """Prolong the session under its fence, keep its row locked until commit, and return it. Raises Fenced."""
    now = timezone.now()
    live = Session.objects.filter(pk=session_id, fence=fence, state=SessionState.OPEN)
    if not live.update(last_seen_at=now, lease_until=now + LEASE):
        raise Fenced
    return Session.objects.select_related("vault").get(pk=session_id)


def _rows(pack_id: int) -> list[Arrival]:
    with connection.cursor() as cursor:
        cursor.execute(
            'SELECT kind, id, "offset", length FROM catalog_arrival WHERE pack = %s ORDER BY "offset"', [pack_id]
        )
        return [Arrival(kind, bytes(record_id), offset, length) for kind, record_id, offset, length in cursor]


def _insert(session: Session, pack_id: int, rows: Sequence[Arrival]) -> None:
    if not rows:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            INSERT_SQL,
            {
                "vault": session.vault.number,
                "session": session.pk,
                "pack": pack_id,
                "ids": [row.id for row in rows],
                "kinds": [row.kind for row in rows],
                "offsets": [row.offset for row in rows],
                "lengths": [row.length for row in rows],
            },
        )
