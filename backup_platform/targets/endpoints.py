"""Endpoints, buckets and prefixes as people write them: what is allowed, and what is wrong with the rest."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from backup_platform.safe_addresses import AddressRefused, Network, networks, resolve
from backup_platform.storage.base import KeyRefused, check_prefix
from backup_platform.targets.errors import TargetRefused

ADVICE = "ask the platform's staff to allow private addresses for this target"
MAX_ENDPOINT = 300
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
REGION = re.compile(r"[a-z0-9-]{0,50}")
STORAGE_CLASS = re.compile(r"[A-Z0-9_]{0,30}")


def check_endpoint(text: str, *, private: bool) -> str:
    """An endpoint as it is kept: scheme, host and port, nothing else; "" is AWS itself. Raises TargetRefused.

    The host is looked up and all its addresses are checked; each later connection does the same again for itself.
    """
    url = text.strip().rstrip("/")
    if not url:
        return ""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise TargetRefused("The endpoint is not an address: write https://host or https://host:port.") from None
    _check_form(url, parts.scheme, host, private=private)
    if parts.username is not None or parts.path or parts.query or parts.fragment or port == 0:
        raise TargetRefused(
            "The endpoint must be https://host or https://host:port, without user name, path or question. The bucket"
            " and the prefix have fields of their own."
        )
    try:
        resolve(str(host), port or (443 if parts.scheme == "https" else 80), _allowed(private), ADVICE)
    except AddressRefused as refusal:
        raise TargetRefused(f"The endpoint cannot be used. {refusal}") from None
    return url


def _check_form(url: str, scheme: str, host: str | None, *, private: bool) -> None:
    if scheme not in {"https", "http"} or not host:
        raise TargetRefused("The endpoint must begin with https:// and name a host.")
    if scheme == "http" and not private:
        raise TargetRefused(
            "The endpoint must begin with https://: over http anybody on the way could withhold or replace what is"
            " read. Only an endpoint in the house, which the platform's staff allows, may be http://."
        )
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url or len(url) > MAX_ENDPOINT:
        raise TargetRefused("The endpoint holds characters that do not belong in an address, or is too long.")


def _allowed(private: bool) -> list[Network]:
    return networks(("0.0.0.0/0", "::/0")) if private else []


def check_bucket(text: str) -> str:
    """A bucket's name by the rules of S3. Raises TargetRefused."""
    if not BUCKET.fullmatch(text) or ".." in text:
        raise TargetRefused(
            "The bucket's name must have 3 to 63 of the characters a-z, 0-9, dot and hyphen, and begin and end with a"
            " letter or digit."
        )
    return text


def check_folder(text: str) -> str:
    """A prefix of every key: parts between slashes, none at its ends. Raises TargetRefused."""
    prefix = text.strip().strip("/")
    try:
        return check_prefix(prefix)
    except KeyRefused:
        raise TargetRefused(
            "The prefix may hold a-z, 0-9, dots, hyphens, underscores, and slashes between its parts."
        ) from None


def check_word(text: str, pattern: re.Pattern[str], what: str) -> str:
    """A region or storage class. Raises TargetRefused."""
    if not pattern.fullmatch(text):
        raise TargetRefused(f"This is no {what}: {text[:50]!r}.")
    return text
