"""Faults of the engine that are not the server's."""

from __future__ import annotations

from agents.errors import AgentError, ExitCode


class Cancelled(AgentError):
    """The caller asked the backup to stop. What was sent stays on the server and is not sent again."""

    exit_code = ExitCode.INTERRUPTED

    def __init__(self) -> None:
        super().__init__("The backup was stopped.", "Start it again to go on: what was sent is not sent again.")
