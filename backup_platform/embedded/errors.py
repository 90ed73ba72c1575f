"""What goes wrong around an instance, said so that its operator knows what to do."""

from __future__ import annotations


class EmbeddedError(Exception):
    """One sentence on what is wrong and why, one on what to do; shown as it is, without a traceback."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what} {remedy}")
        self.what = what
        self.remedy = remedy


class AlreadyRunning(EmbeddedError):
    """Another `up` holds this home."""


class NotRunning(EmbeddedError):
    """No `up` holds this home, so there is nothing to talk to."""


class PortTaken(EmbeddedError):
    """Something else listens where the platform was asked to."""


class HomeUnusable(EmbeddedError):
    """The home, or a server's data directory, is missing, foreign, damaged or full."""


class WrongSetting(EmbeddedError):
    """A variable of the environment says what cannot be."""


class ServerFailed(EmbeddedError):
    """A server did not start, or did not answer in time."""
