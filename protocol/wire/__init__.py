"""The socket protocol without sockets: frames, messages, their order, and Connection.

Reference: docs/wire-protocol.md. Everything that shells need is here:

    from protocol.wire import NEED_DATA, Connection, Role, errors, limits, messages
"""

from protocol.wire import errors, features, limits, messages
from protocol.wire.connection import NEED_DATA, Buffer, Connection, Ended, Event, Need, Unsupported
from protocol.wire.errors import FailureCode, LocalProtocolError, ProtocolError, RemoteProtocolError
from protocol.wire.states import Phase
from protocol.wire.types import MessageType, Role

__all__ = [
    "NEED_DATA",
    "Buffer",
    "Connection",
    "Ended",
    "Event",
    "FailureCode",
    "LocalProtocolError",
    "MessageType",
    "Need",
    "Phase",
    "ProtocolError",
    "RemoteProtocolError",
    "Role",
    "Unsupported",
    "errors",
    "features",
    "limits",
    "messages",
]
