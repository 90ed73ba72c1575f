"""Optional things of protocol version 1: what they are called in HELLO and WELCOME, and which messages need them.

A message of a feature is known on a connection only when HELLO offered the feature and WELCOME repeated it. Without
that it is treated exactly as an implementation treats it that has never heard of it, so that no party can come to
depend on something that the other never agreed to.
"""

from typing import Final

from protocol.wire.types import MessageType as M

CONTROL: Final = "control"  # a daemon's connection: offered jobs, configuration, cancelling, renewal of certificates
LIFECYCLE: Final = "lifecycle"  # why numbers of a machine's chain are not listed: statements and lifecycle records
DRILLS: Final = "drills"  # what became of a drill that somebody began on the machine
THAWING: Final = "thawing"  # what lies in cold storage is called COLD, and asked for only where THAW says so

_MESSAGES: Final = {
    CONTROL: (
        M.CONTROL, M.CONTROLLED, M.PROGRESS, M.REPORT, M.REPORTED, M.RENEW, M.RENEWED,
        M.OFFER, M.ACCEPTED, M.CANCEL, M.CANCELLED, M.CONFIGURE, M.CONFIGURED,
    ),
    LIFECYCLE: (M.EXPLAIN, M.EXPLAINED),
    DRILLS: (M.DRILLED, M.NOTED),
    THAWING: (M.THAW, M.THAWING),
}  # fmt: skip

FEATURE_OF: Final[dict[M, str]] = {kind: feature for feature, kinds in _MESSAGES.items() for kind in kinds}
"""Messages that are not in it belong to version 1 itself."""
