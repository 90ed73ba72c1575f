"""What the catalogue's services refuse, and why. Each message may be shown to the agent: it names no server path."""

from __future__ import annotations


class CatalogError(Exception):
    """The family."""


class Busy(CatalogError):
    """Another connection backs up this machine; `retry_after` seconds until its lease can have ended."""

    def __init__(self, retry_after: float) -> None:
        super().__init__("A backup of this machine is already running. Try again later.")
        self.retry_after = retry_after


class Fenced(CatalogError):
    """A newer connection took the session over, or the session has ended: nothing more can be written here."""

    def __init__(self) -> None:
        super().__init__("This backup session was taken over or has ended. Begin again.")


class InvalidCommit(CatalogError):
    """A commit's content was refused; the message names the fault."""


class RecordUnavailable(CatalogError):
    """A record could not be read just now (a store is away). It is not said to be damaged or missing."""


class RecordCold(RecordUnavailable):
    """It lies whole in a cold storage class. Reading asks for nothing: that costs money, so somebody has to want it."""

    def __init__(self) -> None:
        super().__init__(
            "A pack that is needed lies in cold storage. A restore asks for what it needs; for anything else bring it "
            "back with `manage.py thaw SNAPSHOT`, which takes hours and costs money."
        )


class ObjectLost(CatalogError):
    """Every place that should have an object of a snapshot has said that it has not, or gave other bytes."""

    def __init__(self, key: str) -> None:
        super().__init__(f"{key.rpartition('/')[2]} is in no place as it should be.")
        self.key = key


class RecordLost(CatalogError):
    """No place of this record holds its right bytes any more. `record_id` names it."""

    def __init__(self, record_id: bytes) -> None:
        super().__init__(f"Record {record_id.hex()[:16]}… cannot be read intact from any of its places.")
        self.record_id = record_id
