"""Ports that stay ours for the life of `up`, also while the process that listens on them is being started again.

A reservation is a bound socket that never listens. With SO_REUSEADDR on both sides the kernel lets one child bind and
listen on the same port, refuses the port to everybody who does not ask for it by number, and tells us at once when
somebody else listens there already.
"""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass

from backup_platform.embedded.errors import PortTaken


@dataclass
class Reservation:
    """A port on an address; `close` gives it back."""

    host: str
    port: int
    _socket: socket.socket

    def close(self) -> None:
        """Give the port back."""
        self._socket.close()


def reserve_port(host: str, port: int, *, variable: str) -> Reservation:
    """Reserve PORT on HOST (0: any free one). VARIABLE is the setting to name when it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    holder = socket.socket(family, socket.SOCK_STREAM)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        holder.bind((host, port))
    except OSError as fault:
        holder.close()
        raise PortTaken(_reason(host, port, fault), f"Set {variable} to another port (0 takes a free one).") from None
    except OverflowError:
        holder.close()
        raise PortTaken(f"{port} is not a port.", f"Set {variable} to a number from 0 to 65535.") from None
    return Reservation(host, holder.getsockname()[1], holder)


def _reason(host: str, port: int, fault: OSError) -> str:
    if fault.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is taken: another program listens there."
    if fault.errno == errno.EACCES:
        return f"Port {port} on {host} is only for privileged users."
    return f"Port {port} on {host} cannot be used: {fault.strerror}."
