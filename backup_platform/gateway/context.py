"""What all sessions of one gateway share."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

from backup_platform.gateway.admission import Admission, CommitMeter, QuestionMeter, ReceivedBytes, SentBytes
from backup_platform.gateway.errors import Refusal
from backup_platform.gateway.limits import GatewayLimits
from backup_platform.gateway.open_packs import OpenPacks
from backup_platform.gateway.pools import Pools
from backup_platform.gateway.restoring import BlockCache
from protocol.wire.errors import FailureCode

if TYPE_CHECKING:
    from backup_platform.gateway.backup import Backup
    from backup_platform.gateway.control_desk import ControlDesk
    from backup_platform.gateway.peer import Peer


@dataclass(slots=True)
class Context:
    """The gateway as its sessions see it. `certificate_hash` is SHA-256 of its leaf (DER), `ca` the authority's DER."""

    limits: GatewayLimits
    pools: Pools
    packs: OpenPacks
    admission: Admission
    received: ReceivedBytes
    sent: SentBytes
    questions: QuestionMeter
    blocks: BlockCache
    certificate_hash: bytes
    ca: bytes
    server_version: str
    commits: asyncio.Semaphore
    desk: ControlDesk
    backups: dict[UUID, Backup] = field(default_factory=dict)
    committed: CommitMeter = field(default_factory=CommitMeter)
    thawing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    """One question to cold storage at a time: each may hold a thread that reads for restores for ten seconds."""

    @property
    def spool_name(self) -> str:
        """What a session's row calls this gateway."""
        return self.packs.spool.name

    def new_nonce(self) -> bytes:
        """Thirty-two random bytes for one connection; a kit proof signs them."""
        return secrets.token_bytes(32)

    def recognised(self, peer: Peer) -> None:
        """The peer has shown who it is."""
        if not peer.recognised:
            peer.recognised = True
            self.admission.recognised(peer.address)

    def check_room_for_backup(self) -> None:
        """Refuse with BUSY when as many backups are running as this gateway has memory for."""
        if len(self.backups) >= self.limits.backups:
            sentence = "The gateway serves as many backups as it can. Try again later."
            raise Refusal(FailureCode.BUSY, sentence, retry_after=30.0)
