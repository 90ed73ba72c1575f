"""One request to an address that a tenant gave: to the address that was checked, once, and for a short while.

The host is looked up once and the connection goes to that very address, with the host's name in TLS and in the Host
header. No proxy of the environment is used, no redirect followed, and of the answer only its status is kept: a bounded
part of it is read and thrown away, so nobody can read the inside of a network through us. The whole exchange ends
after `SECONDS`, however slowly it is answered.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from urllib.parse import SplitResult, urlsplit

from backup_platform.safe_addresses import AddressRefused, Network, Resolved, resolve

SECONDS = 10.0
MAX_ANSWER = 16 * 1024
MAX_URL = 2000


class UrlRefused(ValueError):
    """An address that cannot be used; the text says why and never repeats it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How a receiver answered: the status, or what went wrong before there was one. `refused`: not even tried."""

    status: int | None
    fault: str = ""
    refused: bool = False


def check_url(url: str, *, may_be_plain: bool = False) -> SplitResult:
    """The parts of a usable address. Raises UrlRefused. `may_be_plain`: http is not refused here."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise UrlRefused("This is not an address: write https://host/path.") from None
    if parts.scheme not in {"https", "http"} or not host:
        raise UrlRefused("The address must begin with https:// and name a host.")
    if parts.scheme == "http" and not may_be_plain:
        raise UrlRefused("The address must begin with https://: alerts are not sent in clear.")
    if parts.username is not None or parts.password is not None:
        raise UrlRefused("The address must not hold a user name or password; use a secret path or the signature.")
    printable = url.isascii() and url.isprintable() and " " not in url
    if not printable or len(url) > MAX_URL or port == 0 or "\\" in url:
        raise UrlRefused("The address holds characters that do not belong in one, or is too long.")
    return parts


def post(url: str, body: bytes, headers: Mapping[str, str], allowed: Iterable[Network]) -> Answer:
    """Send it, and say how it was answered. Never raises for what the other side does."""
    try:
        parts = check_url(url, may_be_plain=True)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        target = resolve(str(parts.hostname), port, allowed)
        if parts.scheme == "http" and not target.inside:
            raise UrlRefused("The address must begin with https://: alerts are not sent in clear.")
    except (UrlRefused, AddressRefused) as fault:
        return Answer(None, str(fault), refused=True)
    return exchange("POST", parts, port, target, body, headers)


def exchange(
    method: str, parts: SplitResult, port: int, target: Resolved, body: bytes | None, headers: Mapping[str, str]
) -> Answer:
    """One request over one connection to the checked address."""
    connection = _Pinned(target, port, secure=parts.scheme == "https")
    timer = threading.Timer(SECONDS, connection.cut)
    timer.daemon = True
    timer.start()
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request(method, path, body=body, headers={"Host": parts.netloc, **headers})
        response = connection.getresponse()
        response.read(MAX_ANSWER)
        return Answer(response.status)
    except ssl.SSLCertVerificationError:
        return Answer(None, "Its certificate is not valid for its name.")
    except TimeoutError:
        return Answer(None, "It did not answer in time.")
    except (OSError, http.client.HTTPException) as fault:
        return Answer(None, "It did not answer in time." if connection.was_cut else _sentence(fault))
    finally:
        timer.cancel()
        connection.close()


class _Pinned(http.client.HTTPConnection):
    """A connection to the address that was checked; the name is used for TLS only."""

    def __init__(self, target: Resolved, port: int, *, secure: bool) -> None:
        super().__init__(target.host, port, timeout=SECONDS)
        self.target, self.secure, self.was_cut = target, secure, False

    def connect(self) -> None:
        """Dial the address, not the name."""
        plain = socket.create_connection((str(self.target.address), self.port), timeout=SECONDS)
        self.sock = plain
        if self.secure:
            # Known to `cut` before the handshake, which a hostile receiver may draw out.
            self.sock = _trust().wrap_socket(plain, server_hostname=self.target.host, do_handshake_on_connect=False)
            self.sock.do_handshake()

    def cut(self) -> None:
        """End it from another thread: whatever waits on the socket returns at once."""
        self.was_cut = True
        held = self.sock
        if held is not None:
            try:
                socket.socket.shutdown(held, socket.SHUT_RDWR)  # not the TLS socket's own: it is in use elsewhere
            except OSError:
                return  # it ended by itself


@cache
def _trust() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _sentence(fault: Exception) -> str:
    """What may be shown: a kind of fault, never what the other side wrote."""
    if isinstance(fault, ConnectionRefusedError):
        return "It refused the connection."
    if isinstance(fault, ssl.SSLError):
        return "No TLS connection could be made with it."
    if isinstance(fault, http.client.HTTPException):
        return "It did not answer in HTTP."
    return f"The connection failed ({type(fault).__name__})."
