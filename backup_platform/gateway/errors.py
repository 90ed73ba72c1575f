"""What a handler raises to answer with a FAILURE."""

from __future__ import annotations

from protocol.wire.errors import FailureCode


class Refusal(Exception):
    """A request is refused: `code` for programs, `sentence` for people, `final` when the connection ends with it."""

    def __init__(
        self, code: FailureCode, sentence: str, *, retry_after: float | None = None, final: bool = False
    ) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.retry_after = retry_after
        self.final = final


class PackDead(Exception):
    """A write or fsync of an open pack failed; the file is never written again, its acknowledged part is copied."""
