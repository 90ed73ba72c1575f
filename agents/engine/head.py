"""Whether the server's newest statement of this machine is the one that this machine made.

A hostile server could hand out a chain that is forged or cut short, and so have a machine sign a history that hides
snapshots. The agent's own last statement, kept outside the cache, decides.
"""

from __future__ import annotations

from agents.engine.cache import Cache
from agents.engine.link import NO_DIGEST, BackupHome, Begun
from agents.errors import Refused
from protocol.stored.errors import FormatError
from protocol.stored.statements import decode_statement


def head_of(statement: bytes | None) -> tuple[bytes, int]:
    """Digest and sequence number of an encoded statement; zeros and 0 for none."""
    if statement is None:
        return NO_DIGEST, 0
    decoded = decode_statement(statement)
    return decoded.digest, decoded.sequence


def settle_head(begun: Begun, home: BackupHome, cache: Cache) -> None:
    """Compare BEGUN's head with this machine's statements; settle what became of a pending one, or raise Refused."""
    theirs = (begun.head, begun.head_sequence)
    pending = home.pending_statement()
    if pending is not None and theirs == _pending_head(pending):
        # The acknowledgement was lost, the commit was not.
        home.promote_pending_statement()
        cache.switch(begun.head)
        return
    if theirs != head_of(home.last_statement()):
        raise Refused(
            f"The server's newest statement of this machine (number {begun.head_sequence}) is not the one that this "
            f"machine made (number {head_of(home.last_statement())[1]}): the server lost or hides snapshots, or this "
            "agent home is a copy.",
            "Nothing was backed up. Ask the operator; if the server was restored from a backup of its own, or this "
            "machine was cloned, enrol the machine anew.",
        )
    if pending is not None:
        home.drop_pending_statement()


def _pending_head(pending: bytes) -> tuple[bytes, int]:
    try:
        return head_of(pending)
    except FormatError:
        return b"", -1
