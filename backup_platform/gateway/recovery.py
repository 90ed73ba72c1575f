"""At the start of a gateway: take a spool, and bring what dead gateways left in theirs to an end.

Idempotent and crash-safe, because finishing is: a start that dies in the middle is repeated by the next one.
"""

from __future__ import annotations

from pathlib import Path

import structlog

from backup_platform.catalog import arrivals, sessions
from backup_platform.catalog.errors import CatalogError
from backup_platform.catalog.models import Pack, PackPlace, PackState
from backup_platform.gateway.errors import PackDead
from backup_platform.gateway.file_layer import FileLayer
from backup_platform.gateway.finishing import UnfinishedPack, finish_pack, settle_leftover
from backup_platform.gateway.spool import NEW, OPEN, SEALED, SET_ASIDE, Spool, create_spool, orphan_spools
from backup_platform.tenants.scope import without_tenant_scope

log = structlog.get_logger(__name__)


def take_spool(files: FileLayer, root: Path) -> tuple[Spool, list[Spool], list[UnfinishedPack]]:
    """This gateway's spool: the first that nobody holds, or a new one; every orphan is recovered before.

    Also returns other spools that stay locked because packs in them could not be finished yet, and these packs.
    Raises database errors.
    """
    unfinished: list[UnfinishedPack] = []
    kept: list[Spool] = []
    own: Spool | None = None
    for spool in orphan_spools(root):
        left = recover_spool(files, spool)
        unfinished += left
        if own is None:
            own = spool
        elif left:
            kept.append(spool)
        else:
            spool.release()
    return own or create_spool(root, files), kept, unfinished


def recover_spool(files: FileLayer, spool: Spool) -> list[UnfinishedPack]:
    """Finish every open pack of a locked spool; returns those that the disk does not let finish now.

    The lock proves that no gateway writes here any more, so the leases that it held end too.
    """
    with without_tenant_scope("a spool holds packs of every tenant"):
        sessions.release_sessions_of(spool.name)
        rows = [UnfinishedPack.of(pack, spool.directory) for pack in arrivals.open_packs(spool.name)]
    left: list[UnfinishedPack] = []
    for row in rows:
        try:
            finish_pack(files, row)
        except (PackDead, OSError, CatalogError, ValueError) as fault:  # one bad pack must not keep us from starting
            log.warning("a pack of a dead gateway cannot be finished yet", pack=row.uid.hex[:12], fault=repr(fault))
            left.append(row)
    _tidy(files, spool, {row.path.name for row in left})
    if rows:
        log.info("spool recovered", spool=spool.name, packs=len(rows), left=len(left))
    return left


def _tidy(files: FileLayer, spool: Spool, left: set[str]) -> None:
    """Remove drafts and leftovers of finished packs; set aside open files that no row knows."""
    for path in sorted(spool.directory.iterdir()):
        if path.stem in left or path.suffix not in (OPEN, NEW, SEALED):
            continue
        if path.suffix == NEW:
            files.unlink(path)
        else:
            _tidy_by_row(files, path)


def _tidy_by_row(files: FileLayer, path: Path) -> None:
    with without_tenant_scope("a spool holds packs of every tenant"):
        uid = path.stem
        row = Pack.objects.filter(uid=uid).first() if _is_uid(uid) else None
    if row is None:
        if path.suffix == OPEN:
            # Nothing of it was acknowledged, or its rows went with a database that was put back: not removed here.
            log.warning("an open pack without a row was set aside", pack=uid[:12])
            files.rename(path, path.with_suffix(SET_ASIDE))
    elif path.suffix == OPEN and row.state != PackState.OPEN:
        settle_leftover(files, path, row)
    elif row.place == PackPlace.TARGET:
        files.unlink(path)


def _is_uid(text: str) -> bool:
    return len(text.replace("-", "")) == 32 and all(digit in "0123456789abcdef-" for digit in text)
