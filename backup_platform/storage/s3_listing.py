"""Listings of a bucket that never end early: page after page until the service says that there are no more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from backup_platform.storage.base import StoreUnavailable

MAX_FOLDER = 1_000_000
"""Names of one folder that are held at a time while a listing goes folder by folder."""

Page = dict[str, Any]
Ask = Callable[..., Page]
"""Asks for one page; raises a StoreError."""


def list_pages(ask: Ask, start: str) -> Iterator[str]:
    """Every name that begins with `start`, from a service that lists names in the order of their bytes."""
    last = ""
    for page in _pages(ask, Prefix=start):
        for name in _names(page):
            if name <= last:
                raise StoreUnavailable("The service lists keys out of order: probe the target again.")
            last = name
            yield name


def list_folders(ask: Ask, start: str) -> Iterator[str]:
    """The same from any service: folder by folder, each one put in order here."""
    found: list[str] = []
    for page in _pages(ask, Prefix=start, Delimiter="/"):
        found += _names(page)
        found += [folder["Prefix"] for folder in page.get("CommonPrefixes", [])]
        if len(found) > MAX_FOLDER:
            raise StoreUnavailable("A folder of the bucket holds too many names to be put in order.")
    for name in sorted(set(found)):
        if name != start and name.endswith("/"):
            yield from list_folders(ask, name)
        elif name != start:
            yield name


def _pages(ask: Ask, **asked: str) -> Iterator[Page]:
    token = ""
    while True:
        page = ask(**asked, **({"ContinuationToken": token} if token else {}))
        if "IsTruncated" not in page:
            raise StoreUnavailable("The service answered a listing with something that is none.")
        yield page
        if not page["IsTruncated"]:
            return
        following = page.get("NextContinuationToken") or ""
        if following in ("", token):
            raise StoreUnavailable("The service broke a listing off: it says that there is more, and not where.")
        token = following


def _names(page: Page) -> list[str]:
    return [item["Key"] for item in page.get("Contents", [])]
