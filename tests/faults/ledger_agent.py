"""The agent as it is, with a witness: each acknowledgement is written to a ledger before the agent itself hears of it.

    LEDGER=FILE python -m tests.faults.ledger_agent backup …

It waits less between two attempts than the real one. IMPATIENT=1 makes it give up on a silent gateway after four
seconds instead of the protocol's minute.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from agents import cli
from agents.transport import retrying
from agents.transport.link import GatewayLink
from protocol.wire import limits
from tests.faults.ledger import Ledger


def watch(ledger: Ledger) -> None:
    """Put the witness between the gateway's STORED and COMMITTED and whoever waits for them."""
    forget, commit = GatewayLink._forget, GatewayLink.commit

    def forget_and_note(link: GatewayLink, through: int) -> None:
        note(itertools.islice(link._sent, max(0, through - link._through)))
        forget(link, through)

    def commit_and_note(link: GatewayLink, *arguments, **more):
        answer = commit(link, *arguments, **more)
        if answer.snapshot:
            ledger.append([{"snapshot": answer.snapshot.hex()}])
        return answer

    def note(puts) -> None:
        ledger.append(
            {
                "kind": int(put.message.kind),
                "id": put.message.id.hex(),
                "digest": put.message.digest.hex(),
                "length": len(put.sealed),
            }
            for put in puts
        )

    GatewayLink._forget = forget_and_note
    GatewayLink.commit = commit_and_note


if __name__ == "__main__":
    retrying.STEPS = (0.0, 0.2, 0.5, 1.0)
    if os.environ.get("IMPATIENT"):
        limits.FRAME_STALL, limits.KEEP_ALIVE, limits.IDLE = 2.0, 1.0, 4.0
    watch(Ledger(Path(os.environ["LEDGER"])))
    cli.main()
