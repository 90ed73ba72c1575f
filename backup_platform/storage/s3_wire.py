"""The way to a bucket: a client that dials checked addresses only, waits for a bounded time, and reads no environment.

Every connection looks its host up once, checks every address that it has, and dials the checked one: a name that
changes its mind between two look-ups leads nowhere (DNS rebinding). The host's name stays in TLS and in the signature.
No proxy, profile, key or endpoint of this process's environment is used, and no HTTP redirect is followed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import boto3
import botocore.session
from botocore.awsrequest import AWSHTTPConnection, AWSHTTPConnectionPool, AWSHTTPSConnection, AWSHTTPSConnectionPool
from botocore.config import Config
from botocore.configprovider import ConstantProvider
from botocore.httpsession import URLLib3Session
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from urllib3.util.connection import create_connection

from backup_platform.safe_addresses import Network, networks, resolve

ADVICE = "ask the platform's staff to allow private addresses for this target"
EVERYWHERE = ("0.0.0.0/0", "::/0")
"""What an allowed private endpoint may be. Clouds' services for their own machines stay closed even so."""
DEFAULT_REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class Account:
    """Who asks. Shown nowhere."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    session_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one request may take: seconds to connect, seconds of silence, attempts in all (each waits longer)."""

    connect: float = 10
    silence: float = 60
    attempts: int = 4


@dataclass(frozen=True, slots=True)
class Place:
    """Which bucket: an endpoint (empty: AWS itself), a region, a bucket. `private`: its address may be private."""

    bucket: str
    endpoint: str = ""
    region: str = ""
    private: bool = False


def make_client(place: Place, account: Account, patience: Patience) -> Any:
    """A client of boto3 for one bucket. Makes no request."""
    bare = botocore.session.Session()
    for name in ("config_file", "credentials_file"):
        bare.set_config_variable(name, os.devnull)
    bare.get_component("config_store").set_config_provider("profile", ConstantProvider(None))
    session = boto3.Session(
        aws_access_key_id=account.access_key,
        aws_secret_access_key=account.secret_key,
        aws_session_token=account.session_token or None,
        region_name=place.region or DEFAULT_REGION,
        botocore_session=bare,
    )
    client = session.client("s3", endpoint_url=place.endpoint or None, config=_config(place, patience))
    wire = CheckedSession(private=place.private, patience=patience)
    client.meta.events.register("before-send.s3", lambda request, **_: wire.send(request))
    client.meta.events.register("before-call.s3", _stay)
    return client


def _stay(params: dict[str, Any], **_: Any) -> None:
    """Say that a redirect was followed already: the client would ask the bucket for its region, whose own redirect it
    follows in turn, without end."""
    params["context"].setdefault("s3_redirect", {})["redirected"] = True


def _config(place: Place, patience: Patience) -> Config:
    return Config(
        signature_version="s3v4",
        connect_timeout=patience.connect,
        read_timeout=patience.silence,
        retries={"mode": "standard", "total_max_attempts": patience.attempts},
        # By default boto3 adds checksums of its own in trailers, which many stores refuse, and one stored as content.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        proxies={},
        ignore_configured_endpoint_urls=True,
        # Everybody but AWS serves buckets by path; AWS wants them in the host's name.
        s3={"addressing_style": "path" if place.endpoint else "auto", "us_east_1_regional_endpoint": "regional"},
    )


class CheckedSession(URLLib3Session):  # type: ignore[misc] # botocore has no types
    """Sends requests over connections that dial checked addresses."""

    def __init__(self, *, private: bool, patience: Patience, connections: int = 32) -> None:
        bundle = os.environ.get("AWS_CA_BUNDLE") or True  # the operator's own authority, for stores in the house
        super().__init__(
            verify=bundle, proxies={}, timeout=(patience.connect, patience.silence), max_pool_connections=connections
        )
        self._manager.pool_classes_by_scheme = _pools(private)


@cache
def _pools(private: bool) -> dict[str, type]:
    allowed = networks(EVERYWHERE if private else ())
    plain = type("CheckedConnection", (_Checked, AWSHTTPConnection), {"allowed": allowed})
    secure = type("CheckedSecureConnection", (_Checked, AWSHTTPSConnection), {"allowed": allowed})
    return {
        "http": type("CheckedPool", (AWSHTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("CheckedSecurePool", (AWSHTTPSConnectionPool,), {"ConnectionCls": secure}),
    }


class _Checked:
    """What makes a connection of urllib3 a checked one."""

    allowed: Iterable[Network] = ()

    def _new_conn(self: Any) -> Any:
        """Dial the checked address; urllib3 uses the host's name for TLS. Raises AddressRefused."""
        found = resolve(self.host, self.port, self.allowed, ADVICE)
        try:
            return create_connection(
                (str(found.address), self.port), self.timeout, self.source_address, self.socket_options
            )
        except TimeoutError:
            raise ConnectTimeoutError(self, "The connection timed out.") from None
        except OSError as fault:
            raise NewConnectionError(self, f"The connection failed: {type(fault).__name__}.") from None
