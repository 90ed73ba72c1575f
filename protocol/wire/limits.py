"""Every bound of the wire, each with its reason.

Sizes are bytes and times are seconds unless the name says otherwise. Both sides enforce every bound: sending beyond one
is a LocalProtocolError, receiving beyond one a RemoteProtocolError. The times are kept by the shells that own sockets.
"""

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

# --- ids -------------------------------------------------------------------------------------------------------------

SHORT_ID: Final = 16  # tenant, vault, machine, session, snapshot: UUIDs
LONG_ID: Final = 32  # chunk and block ids, digests, hashes, nonces, tokens: BLAKE3-256 or SHA-256

# --- frames ----------------------------------------------------------------------------------------------------------

# A body is fields, never file content. 1 MiB holds the longest list that we send (24,576 ids = 768 KiB) with room.
MAX_BODY: Final = 1 * MIB
# The largest payload of any message: a root. 8 MiB names about 40,000 segments, more than MAX_LONG_LIST blocks.
MAX_PAYLOAD: Final = 8 * MIB
# A sealed chunk: 4 MiB of plaintext, and what sealing may add to it. The same number as protocol.stored's.
MAX_SEALED: Final = 4 * MIB + 64 * KIB
# The smallest root file: header 100, nonce 12, tag 16.
MIN_ROOT: Final = 128
# Who has not shown a certificate yet may make us hold this much and no more.
MAX_STRANGER_BODY: Final = 64 * KIB
# Bodies of a few fields: no reason to hold more for them.
MAX_SMALL_BODY: Final = 16 * KIB
# CONTROL, PROGRESS, REPORT, DRILLED: facts, fifty log lines, or two sentences and counts, a character of four bytes.
MAX_CONTROL_BODY: Final = 128 * KIB

# --- receiving -------------------------------------------------------------------------------------------------------

# What an idle connection costs: 5,000 waiting daemons at 16 KiB are 80 MiB, at 256 KiB they would be 1.3 GiB.
MIN_RECEIVE_BUFFER: Final = 16 * KIB
# A busy connection reads this much per call: 256 KiB is where the cost of a call disappears behind the copying.
MAX_RECEIVE_BUFFER: Final = 256 * KIB
# A body or payload lacking at least this much is filled in place. Below it, one copy is cheaper than one more read.
DIRECT_FILL: Final = 32 * KIB
# After so many small reads in a row a grown buffer is given back.
SMALL_READS_BEFORE_SHRINKING: Final = 16
# The most that one connection can make us hold before the shell has taken the event.
MAX_RECEIVE_MEMORY: Final = MAX_RECEIVE_BUFFER + MAX_BODY + MAX_PAYLOAD

# --- requests and flow -----------------------------------------------------------------------------------------------

# Requests of one side that wait for their answer. Pipelining needs dozens; the table must not grow by a peer's will.
MAX_REQUESTS_IN_FLIGHT: Final = 1024
# Unacknowledged PUT payload bytes. An agent keeps them in memory until STORED; four flushes of 16 MiB fill it.
WINDOW: Final = 64 * MIB
# A window below one sealed chunk could stop a backup for ever.
MIN_WINDOW: Final = MAX_SEALED
# Unacknowledged PUTs, whatever their size: one-byte chunks must not make the ledger grow without end.
MAX_PUTS_IN_FLIGHT: Final = 65_536
MAX_REQUEST_ID: Final = 2**32 - 1
MAX_ORDINAL: Final = 2**63 - 1

# --- lists and strings in bodies -------------------------------------------------------------------------------------

MAX_IDS: Final = 4096  # per QUESTION: one database query's worth, 128 KiB
MAX_FETCH_IDS: Final = 256  # per FETCH: about 256 MiB of answers, at most 1 GiB
MAX_LONG_LIST: Final = 24_576  # block ids of a snapshot, missing or wanted ids: 768 KiB, so that the body still fits
MAX_RECIPIENTS: Final = 32  # recipient records of a root; with MAX_RECIPIENT at most 128 KiB
MAX_RECIPIENT: Final = 4 * KIB  # a recipient record: RSA-4096 needs 595, a post-quantum one fits
MAX_STATEMENT: Final = 2 * KIB  # RSA-4096 signed: 710
MAX_MACHINE_RECORD: Final = 4 * KIB  # two RSA-4096 keys and a countersignature: 1,700
MAX_VAULT_RECORD: Final = 48 * KIB  # thirty-two further recipients with RSA-4096 keys: 20 KiB
MAX_CERTIFICATE: Final = 8 * KIB  # DER; ours are about 1 KiB
MAX_KEY: Final = 2 * KIB  # SPKI DER: RSA-4096 is 550
MAX_CSR: Final = 8 * KIB
MAX_BLOB: Final = 4 * KIB  # the sealed enrolment secret, about 250
MAX_SIGNATURE: Final = 1 * KIB  # RSA-4096 is 512
MAX_SNAPSHOT_ITEMS: Final = 100  # per SNAPSHOTS page: at 2 KiB statement and 4 KiB record each, under MAX_BODY
MAX_STATUS_IDS: Final = 256
MAX_FATES: Final = 40  # per EXPLAINED: with a statement of 2 KiB and eight records each, under MAX_BODY
MAX_LIFECYCLE_RECORDS: Final = 8  # per snapshot of an EXPLAINED; a receipt and an expiry are two
MAX_LIFECYCLE_RECORD: Final = 2560  # an expiry with the longest reason and name: 2,100; a usual record is 200 bytes
MAX_THAW_BLOCKS: Final = 256  # per THAW: 8 KiB; what they list is a few hundred GiB at most
MAX_FACTS: Final = 32
MAX_VERSIONS: Final = 16
MAX_FEATURES: Final = 64
MAX_LABEL: Final = 64  # characters of a feature's or fact's name
MAX_NAME: Final = 255  # characters of a machine's name or a fact
MAX_TEXT: Final = 1024  # characters of a sentence for people
MAX_POLICY_NAME: Final = 100  # characters
MAX_DOCUMENT: Final = 256_000  # characters of a configuration or a job's description: four bytes each fit into a body
MAX_RUNNING: Final = 64  # jobs that an agent has in hand; it runs a few at a time
MAX_COUNTS: Final = 32
MAX_PROGRESS: Final = 4096  # characters of a job's progress
MAX_LINES: Final = 50  # log lines of one PROGRESS
MAX_LINE: Final = 500  # characters of one

# --- times, kept by the shells ---------------------------------------------------------------------------------------

HANDSHAKE: Final = 10.0  # from accept to HELLO received, TLS included: strangers hold a place no longer
KEEP_ALIVE: Final = 20.0  # a side that has sent nothing for so long sends PING
IDLE: Final = 60.0  # a side that has received nothing for so long closes: three lost PINGs
FRAME_STALL: Final = 30.0  # a frame begun must make progress within this
GOODBYE: Final = 5.0  # from our GOODBYE to closing the socket, if the peer does not close first
