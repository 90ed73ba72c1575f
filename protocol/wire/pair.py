"""Two connections joined by a wire that is a list: the shortest test of a conversation."""

from protocol.wire import messages
from protocol.wire.connection import NEED_DATA, Buffer, Connection, Ended, Event, Unsupported
from protocol.wire.types import Role

AnyEvent = Event | Unsupported | Ended


class ConnectionPair:
    """An agent's and a gateway's Connection. What one sends the other gets at once, or in pieces of `piece` bytes."""

    def __init__(self, piece: int | None = None) -> None:
        self.agent = Connection(Role.AGENT)
        self.gateway = Connection(Role.GATEWAY)
        self._piece = piece

    def of(self, role: Role) -> Connection:
        """The connection of that end."""
        return self.agent if role is Role.AGENT else self.gateway

    def send(self, sender: Role, message: messages.Message, request: int = 0, payload: Buffer = b"") -> list[AnyEvent]:
        """Send from one end; the events that the other end gets. Raises what either end raises."""
        return self.deliver(sender.peer, b"".join(self.of(sender).send(message, request, payload)))

    def from_agent(self, message: messages.Message, request: int = 0, payload: Buffer = b"") -> list[AnyEvent]:
        """The agent sends; the gateway's events."""
        return self.send(Role.AGENT, message, request, payload)

    def from_gateway(self, message: messages.Message, request: int = 0, payload: Buffer = b"") -> list[AnyEvent]:
        """The gateway sends; the agent's events."""
        return self.send(Role.GATEWAY, message, request, payload)

    def deliver(self, receiver: Role, data: bytes) -> list[AnyEvent]:
        """Give raw bytes to one end, in pieces if the pair was made so; the events that come out."""
        end, size = self.of(receiver), self._piece or max(1, len(data))
        events: list[AnyEvent] = []
        for offset in range(0, len(data), size):
            end.receive_data(data[offset : offset + size])
            events += drain(end)
        return events


def drain(connection: Connection) -> list[AnyEvent]:
    """Every event that is complete. After the end of the stream the last one is Ended."""
    events: list[AnyEvent] = []
    while (event := connection.next_event()) is not NEED_DATA:
        events.append(event)
        if isinstance(event, Ended):
            break
    return events
