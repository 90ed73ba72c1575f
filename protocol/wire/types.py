"""The two parties and the type codes of messages: the alphabet that tables and codec share."""

from enum import Enum, IntEnum


class Role(Enum):
    """Which end of the connection. The agent always dials; the gateway always answers."""

    AGENT = "agent"
    GATEWAY = "gateway"

    @property
    def peer(self) -> "Role":
        """The other end."""
        return Role.GATEWAY if self is Role.AGENT else Role.AGENT


class MessageType(IntEnum):
    """Type codes in frame headers. Codes are never given a second meaning; gaps leave room within each group."""

    # opening and enrolment
    HELLO = 1
    WELCOME = 2
    ENROLL = 3
    ENROLLED = 4
    PUBLISH = 5
    PUBLISHED = 6
    # the connection itself
    PING = 16
    PONG = 17
    FAILURE = 18
    GOODBYE = 19
    # backup
    BEGIN = 32
    BEGUN = 33
    QUESTION = 34
    ANSWER = 35
    PUT = 36
    STORED = 37
    FLUSH = 38
    FLUSHED = 39
    COMMIT = 40
    COMMITTED = 41
    MISSING = 42
    # restore
    LIST = 64
    SNAPSHOTS = 65
    PROVE = 66
    PROVED = 67
    ROOT = 68
    ROOT_IS = 69
    FETCH = 70
    RECORD = 71
    FETCHED = 72
    EXPLAIN = 73
    EXPLAINED = 74
    DRILLED = 75
    NOTED = 76
    THAW = 77
    THAWING = 78
    # state of the work
    STATUS = 80
    STATUS_IS = 81
    # a daemon's control connection
    CONTROL = 96
    CONTROLLED = 97
    PROGRESS = 98
    REPORT = 99
    REPORTED = 100
    RENEW = 101
    RENEWED = 102
    OFFER = 103
    ACCEPTED = 104
    CANCEL = 105
    CANCELLED = 106
    CONFIGURE = 107
    CONFIGURED = 108
