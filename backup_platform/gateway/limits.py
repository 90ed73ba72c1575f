"""Every bound of the gateway in one place, so that a test can lower one and an operator can read them all."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.wire import limits as wire

KIB = 1024
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class GatewayLimits:
    """Bytes, seconds and counts. The defaults suit one gateway process of 5,000 machines."""

    # Who may connect.
    connections: int = 6_000
    """All connections of this process: 5,000 machines and those that are just coming and going."""
    unauthenticated_per_address: int = 16
    """Connections of one address that have not yet shown a known certificate; a site behind NAT enrols in turns."""
    backups: int = 256
    """Backup sessions at the same time; each may hold a half-received chunk besides the bounds below."""
    handshake_seconds: float = wire.HANDSHAKE
    hello_seconds: float = wire.HANDSHAKE
    enroll_seconds: float = 60
    """How long a peer may stay without a certificate after WELCOME: enough to make an RSA key and ask for one."""
    idle_seconds: float = wire.IDLE
    """Nothing received for this long ends a connection."""
    keep_alive_seconds: float = wire.KEEP_ALIVE
    """Nothing sent for this long: a PING."""
    frame_seconds: float = wire.FRAME_STALL
    """A frame that has begun may take this long at any speed; after that `frame_rate` counts."""
    frame_rate: int = 8 * KIB
    """Bytes a second below which a frame in progress counts as a slow-loris."""
    write_seconds: float = 60
    """A peer that takes none of what was written to it for this long is cut off."""
    goodbye_seconds: float = wire.GOODBYE
    """From our last words to closing, if the peer does not close first."""
    sweep_seconds: float = 1
    """How often the timeouts above are looked at."""

    # What one connection and all of them may hold in memory.
    connection_bytes: int = 32 * MIB
    """Received and not yet written to disk, a connection."""
    total_bytes: int = 104 * MIB
    """The same, all connections."""
    sent_bytes: int = 96 * MIB
    """Read for restores and not yet written to the peers, all connections."""
    waiting_events: int = 64
    """Messages received and not yet begun, a connection; PUTs count by bytes instead."""
    write_buffer: int = 4 * MIB
    """Written and not yet taken by the kernel, a connection."""
    read_batch: int = 8 * MIB
    """Sealed bytes that one FETCH holds in memory at a time."""
    block_cache: int = 32 * MIB
    """Reference blocks kept for restores, all connections."""

    # Flush and seal (docs/architecture.md, the way of a backup).
    append_batch: int = 8 * MIB
    flush_bytes: int = 16 * MIB
    flush_seconds: float = 1
    flushes: int = 4
    """Flushes at the same time: a disk and a database do not get faster by more, and who waits gathers more for one."""
    pack_bytes: int = 64 * MIB
    pack_records: int = 65_536
    """Records of a pack: its index is held in memory while it is open, and one-byte chunks would make it 300 MiB. Far
    above a thousand chunks of 64 KiB, far below the format's 1,048,576."""
    pack_idle_seconds: float = 600
    spool_reserve: int = 256 * MIB
    """Free bytes below which packs are sealed and no new one is begun: a full disk may be the database's too."""
    lease_renewal_seconds: float = 20
    retry_seconds: float = 10
    """How often the finishing of a pack that failed (disk full, database away) is tried again."""

    # Questions: an existence oracle inside a vault, so counted and slowed.
    question_ids_per_second: int = 50_000
    question_ids_burst: int = 1_000_000
    open_questions: int = 4
    """Questions of one connection that are being answered at the same time."""

    # Threads.
    disk_threads: int = 6
    database_threads: int = 5
    commits: int = 3
    """Commits at the same time: each may look up millions of ids, and acknowledgements need a thread meanwhile."""
    control_threads: int = 2
    """Of the control desk: its statements are few and short, and what they keep alive must not wait for a commit."""
    reading_threads: int = 3
    """With `database_threads` and `control_threads` no more than the connection pool has (STRONGROOM_DATABASE_POOL)."""
    drain_seconds: float = 10
    """From SIGTERM to the end."""


EVENT_COST = 512
"""Bytes that a received message counts besides its payload: a flood of empty ones must have an end too."""


def held_bytes(payload: bytes | bytearray | memoryview) -> int:
    """What a received message with this payload counts for in the bounds above."""
    return EVENT_COST + len(payload)
