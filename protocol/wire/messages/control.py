"""Messages of a daemon's control connection: who is here, what is to be done, how it goes, how it ended."""

from typing import Annotated

from msgspec import Meta

from protocol.wire import limits
from protocol.wire.messages.fields import (
    Certificate,
    Count,
    Counts,
    Fields,
    Label,
    MaybeShortId,
    Message,
    Name,
    Seconds,
    ShortId,
    ShortIds,
    SigningRequest,
    Text,
    Time,
)

Document = Annotated[str, Meta(max_length=limits.MAX_DOCUMENT)]  # JSON


class RunningJob(Fields, frozen=True, kw_only=True):
    """A job that the agent has not finished or not reported yet."""

    job: ShortId
    lease: Label


class LogLine(Fields, frozen=True, kw_only=True):
    """A line of a job's log."""

    level: Label  # info, warning or error
    text: Annotated[str, Meta(max_length=limits.MAX_LINE)]  # never the name of a file unless the policy says so


class Control(Message, frozen=True, kw_only=True):
    """A→G, request. Makes this the machine's control connection; an older one is ended."""

    facts: Annotated[dict[Label, Name], Meta(max_length=limits.MAX_FACTS)]
    zone: Label = ""  # IANA name of the machine's time zone; empty: not known
    time: Time  # the agent's clock
    retries: Counts = {}  # since it started: kind of retry → how often
    running: Annotated[list[RunningJob], Meta(max_length=limits.MAX_RUNNING)] = []


class Controlled(Message, frozen=True, kw_only=True):
    """G→A, answers CONTROL."""

    stop: ShortIds = b""  # jobs of `running` that are no longer the agent's: it ends them and reports nothing
    configuration: Document
    progress_seconds: Seconds  # PROGRESS of one job not more often than this
    certificate_days_left: Count


class Progress(Message, frozen=True, kw_only=True):
    """A→G, notice. How a job is getting on; also keeps its lease."""

    job: ShortId
    lease: Label
    state: Annotated[str, Meta(max_length=limits.MAX_PROGRESS)] = ""  # JSON; empty: nothing new
    lines: Annotated[list[LogLine], Meta(max_length=limits.MAX_LINES)] = []


class Report(Message, frozen=True, kw_only=True):
    """A→G, request. A job has ended; repeated until it is answered."""

    job: ShortId
    lease: Label
    outcome: Label  # done, warnings, failed, temporary or cancelled
    message: Text = ""
    advice: Text = ""
    snapshot: MaybeShortId = b""
    counts: Counts = {}


class Reported(Message, frozen=True, kw_only=True):
    """G→A, answers REPORT: it is in the database."""


class Renew(Message, frozen=True, kw_only=True):
    """A→G, request. A new certificate over the same identity key."""

    csr: SigningRequest


class Renewed(Message, frozen=True, kw_only=True):
    """G→A, answers RENEW. The old certificate stays valid until its end."""

    certificate: Certificate
    ca: Certificate


class Offer(Message, frozen=True, kw_only=True):
    """G→A, request. A job for this machine, held for it for a minute."""

    job: ShortId
    lease: Label  # stands in everything that the agent says about the job
    kind: Label  # backup, restore or drill
    spec: Document


class Accepted(Message, frozen=True, kw_only=True):
    """A→G, answers OFFER: it begins now, or why it does not."""

    accepted: bool
    reason: Text = ""
    retry_after: Seconds = 0.0


class Cancel(Message, frozen=True, kw_only=True):
    """G→A, request. End this job soon; its REPORT says how it ended."""

    job: ShortId


class Cancelled(Message, frozen=True, kw_only=True):
    """A→G, answers CANCEL: understood. A job that the agent does not have is answered the same."""


class Configure(Message, frozen=True, kw_only=True):
    """G→A, request. What the machine's policies are from now on."""

    configuration: Document


class Configured(Message, frozen=True, kw_only=True):
    """A→G, answers CONFIGURE."""

    fault: Text = ""  # why it is not in force; the one before it stays
