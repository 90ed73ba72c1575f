"""Which protocol versions this package speaks, and how two sides agree on one."""

from collections.abc import Iterable
from typing import Final

from protocol.wire.errors import FailureCode, Violation

# In ascending order. A version is dropped here one release after no agent that needs it is supported any more.
SUPPORTED_VERSIONS: Final = (1,)


def choose_version(offered: Iterable[int]) -> int:
    """The highest version that both sides know. Raises Violation (VERSION) if there is none."""
    known = sorted(set(offered))
    common = [version for version in known if version in SUPPORTED_VERSIONS]
    if not common:
        ours = ", ".join(map(str, SUPPORTED_VERSIONS))
        theirs = ", ".join(map(str, known))
        raise Violation(f"No common protocol version: offered {theirs}; known here {ours}.", FailureCode.VERSION)
    return common[-1]
