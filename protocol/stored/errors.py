"""The one error that decoding a stored object can end in."""

from __future__ import annotations


class FormatError(ValueError):
    """Bytes are not the stored object that they claim to be.

    ``what`` names the object ("pack trailer"), ``why`` the fault ("its digest does not match"). Neither ever carries
    content, so the text may be shown and logged.
    """

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}: {why}")
        self.what = what
        self.why = why
