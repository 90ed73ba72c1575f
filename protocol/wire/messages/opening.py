"""Opening, enrolment, and the connection's own messages."""

from typing import Annotated

from msgspec import Meta

from protocol.wire import limits
from protocol.wire.errors import InvalidMessage
from protocol.wire.messages.fields import (
    Blob,
    Certificate,
    Label,
    LongId,
    MachineRecord,
    MaybeShortId,
    Message,
    Name,
    PublicKey,
    Seconds,
    ShortId,
    SigningRequest,
    Text,
    Time,
    VaultRecord,
)

Version = Annotated[int, Meta(ge=1, le=255)]
Features = Annotated[list[Label], Meta(max_length=limits.MAX_FEATURES)]


class Hello(Message, frozen=True, kw_only=True):
    """A→G, request. The first message of every connection: what the agent speaks."""

    versions: Annotated[list[Version], Meta(min_length=1, max_length=limits.MAX_VERSIONS)]
    agent_version: Name
    features: Features = []


class Welcome(Message, frozen=True, kw_only=True):
    """G→A, answers HELLO. The three ids are empty, and the record too, when `authenticated` is false."""

    version: Version
    server_version: Name
    nonce: LongId  # fresh per connection; a kit proof signs it
    ca: Certificate  # DER of the platform's CA certificate
    time: Time  # the gateway's clock, to name a clock that is wrong
    authenticated: bool  # the TLS peer showed the certificate of a machine that is active
    machine_id: MaybeShortId = b""
    tenant_id: MaybeShortId = b""
    vault_id: MaybeShortId = b""
    vault_record: VaultRecord = b""
    write_only: bool = False
    features: Features = []  # those of HELLO's features that the gateway will use

    def __post_init__(self) -> None:
        """Raise InvalidMessage when a field is out of bounds or the ids do not fit `authenticated`."""
        super().__post_init__()
        if any(bool(one) is not self.authenticated for one in (self.machine_id, self.tenant_id, self.vault_id)):
            raise InvalidMessage("Welcome carries ids exactly when it is authenticated.")


class Enroll(Message, frozen=True, kw_only=True):
    """A→G, request. The only thing that a stranger may ask for."""

    token: LongId
    csr: SigningRequest  # PKCS#10 DER over the identity key
    reading_key: PublicKey  # SPKI DER
    facts: Annotated[dict[Label, Name], Meta(max_length=limits.MAX_FACTS)]  # hostname, os, agent_version …


class Enrolled(Message, frozen=True, kw_only=True):
    """G→A, answers ENROLL. The agent closes and comes back with the certificate."""

    certificate: Certificate  # DER
    ca: Certificate  # DER
    machine_id: ShortId
    tenant_id: ShortId
    vault_id: ShortId
    vault_record: VaultRecord
    blob: Blob  # the sealed enrolment secret
    write_only: bool
    machine_name: Name


class Publish(Message, frozen=True, kw_only=True):
    """A→G, request. The machine record, first thing with the new certificate."""

    machine_record: MachineRecord


class Published(Message, frozen=True, kw_only=True):
    """G→A, answers PUBLISH. The record is stored."""


class Ping(Message, frozen=True, kw_only=True):
    """Both ways, request. Asks for a PONG; `time` is the sender's and comes back unchanged."""

    time: Time = 0


class Pong(Message, frozen=True, kw_only=True):
    """Both ways, answers PING with its time."""

    time: Time = 0


class Failure(Message, frozen=True, kw_only=True):
    """Both ways. With a request id: that request failed. With 0: the sender ends the connection after it."""

    code: Annotated[int, Meta(ge=1, le=65_535)]  # a FailureCode; unknown ones count as INTERNAL
    message: Text  # one sentence for people; never a secret
    retry_after: Seconds | None = None  # not sooner than so many seconds


class Goodbye(Message, frozen=True, kw_only=True):
    """Both ways. The sender sends nothing more."""

    reason: Text = ""
