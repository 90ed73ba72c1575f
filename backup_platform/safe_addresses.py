"""Which addresses may be dialled for a tenant. A webhook's or a bucket's address must not lead into the house.

Refused is everything that is not a public unicast address: loopback, private, link-local, shared (100.64/10),
unspecified, multicast, reserved, addresses that carry another address inside (mapped, 6to4, Teredo, NAT64), and the
services that clouds run for their own machines. The operator may name networks inside the house that may be reached;
the clouds' services stay closed even then, since they hand out keys to whoever asks.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

METADATA = tuple(
    ipaddress.ip_network(text)
    for text in ("169.254.169.0/24", "169.254.170.0/24", "100.100.100.200", "168.63.129.16", "192.0.0.192",
                 "fd00:ec2::/32", "fd20:ce::254", "fe80::a9fe:a9fe")
)  # fmt: skip
"""Whole networks where a cloud answers at several of its addresses: some of these hand out keys too."""
UNICAST = ipaddress.ip_network("2000::/3")
"""All IPv6 addresses that are routed in public. Others may be anything inside, such as fec0::/10 below an emulator."""
CARRIERS = tuple(
    ipaddress.ip_network(text)
    for text in ("2002::/16", "2001::/32", "64:ff9b::/96", "64:ff9b:1::/48", "::/96", "::ffff:0:0:0/96")
)
"""IPv6 networks whose addresses lead to an IPv4 address that this list cannot see."""


WEBHOOK_ADVICE = "ask the operator to allow that network (STRONGROOM_WEBHOOK_NETWORKS)"


class AddressRefused(ValueError):
    """A host that may not be dialled; the text says why, and names no address of the inside."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """A host's checked address: the one to connect to. `inside`: it is in a network that the operator allowed."""

    host: str
    address: Address
    inside: bool


def networks(texts: Iterable[str]) -> list[Network]:
    """The operator's networks. Raises ValueError for one that is none."""
    return [ipaddress.ip_network(text, strict=False) for text in texts]


def check_address(address: Address, allowed: Iterable[Network], advice: str = WEBHOOK_ADVICE) -> bool:
    """Whether the address is inside an allowed network (True) or public (False). Raises AddressRefused otherwise.

    `advice` ends the sentence "Use a public address, or …".
    """
    address = _plain(address)
    if any(one in network for one in (address, *_carried(address)) for network in METADATA):
        raise AddressRefused("It leads to a cloud's service for its own machines, which is never allowed.")
    if any(address in network for network in allowed if network.version == address.version):
        return True
    if not is_public(address):
        raise AddressRefused(
            "It leads to an address inside the house (private, loopback or reserved)."
            f" Use a public address, or {advice}."
        )
    return False


def is_public(address: Address) -> bool:
    """Whether an address is a public unicast address that stands for itself."""
    if isinstance(address, ipaddress.IPv6Address) and (address not in UNICAST or _is_carrier(address)):
        return False
    special = address.is_multicast or address.is_reserved or address.is_unspecified or address.is_link_local
    return address.is_global and not special


def resolve(host: str, port: int, allowed: Iterable[Network], advice: str = WEBHOOK_ADVICE) -> Resolved:
    """Look a host up once, and check every address that it has; one bad one spoils it. Raises AddressRefused.

    Whoever connects uses the answer and never the name again: a second look-up could say something else.
    """
    allowed = list(allowed)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    except (OSError, UnicodeError):
        raise AddressRefused("Its host name cannot be found.") from None
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    if not addresses:
        raise AddressRefused("Its host name has no address.")
    inside = [check_address(address, allowed, advice) for address in addresses]
    return Resolved(host, _plain(addresses[0]), inside[0])


def _is_carrier(address: ipaddress.IPv6Address) -> bool:
    return any(address in carrier for carrier in CARRIERS)


def _carried(address: Address) -> list[ipaddress.IPv4Address]:
    """The IPv4 addresses that an IPv6 address may lead to, by every way of carrying one that is in use."""
    if not isinstance(address, ipaddress.IPv6Address) or not _is_carrier(address):
        return []
    bits = int(address)
    split = (bits >> 64 & 0xFFFF) << 16 | bits >> 40 & 0xFFFF  # in a translator's prefix of 48 bits
    found = [ipaddress.IPv4Address(one) for one in (bits & 0xFFFF_FFFF, split)]
    return [*found, *(address.teredo or ()), *([address.sixtofour] if address.sixtofour else [])]


def _plain(address: Address) -> Address:
    """An IPv4 address in IPv6's clothes is judged as what it is."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
