"""A store in an S3-compatible bucket, read through `obstore`, which is an extra: an agent brings no cloud SDK.

Endpoint, region and credentials come from the usual variables: AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from agents.errors import UsageFault
from agents.from_target.restore_request import Asker
from agents.from_target.stores import Frozen, Gone, Unreachable

EXTRA = "Install it: `pip install '.[s3]'` in Strongroom's checkout. Or copy the bucket to a directory and name that."
PAGE = 1000
REQUEST = datetime.timedelta(seconds=120)
"""A single request, a pack of 64 MiB included."""
RETRIES = 5
COLD = "InvalidObjectState"
"""The services' one word for it, in what the library repeats of an answer."""


class BucketStore:
    """Objects of a bucket under a prefix."""

    def __init__(self, title: str, store: Any, bucket: str, prefix: str = "") -> None:
        self.title = title
        self._store = store
        self._bucket = bucket
        self._prefix = prefix

    @classmethod
    def from_url(cls, url: str) -> BucketStore:
        """The store at s3://BUCKET/PREFIX. UsageFault when it is no such URL, or `obstore` is not installed."""
        parts = urlsplit(url)
        prefix = parts.path.strip("/")
        if not parts.netloc or parts.query or parts.fragment or "@" in parts.netloc:
            raise UsageFault(f"'{url}' names no bucket.", "Write s3://BUCKET or s3://BUCKET/PREFIX.")
        try:
            from obstore.store import S3Store
        except ImportError:
            raise UsageFault("Reading a bucket needs the package `obstore`, which is not installed.", EXTRA) from None
        plain = _endpoint().startswith("http://")
        with _translated(url):
            store = S3Store(
                parts.netloc,
                prefix=prefix or None,
                client_options={"allow_http": plain, "timeout": REQUEST},
                retry_config={"max_retries": RETRIES, "retry_timeout": REQUEST},
            )
        return cls(f"s3://{parts.netloc}/{prefix}".rstrip("/"), store, parts.netloc, prefix)

    def folders(self, prefix: str) -> list[str]:
        with _translated(prefix or "the bucket"):
            found = self._store.list_with_delimiter(prefix or None)["common_prefixes"]
        return sorted(str(path).rstrip("/").rpartition("/")[2] for path in found)

    def keys(self, prefix: str) -> Iterator[tuple[str, int]]:
        with _translated(prefix or "the bucket"):
            for page in self._store.list(prefix or None, chunk_size=PAGE):
                for item in page:
                    yield str(item["path"]), int(item["size"])

    def read(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        with _translated(key):
            if offset == 0 and length is None:
                return bytes(self._store.get(key).bytes())
            size = int(self._store.head(key)["size"]) if length is None else offset + length
            if size <= offset:
                return b""
            return bytes(self._store.get_range(key, start=offset, end=size))

    def thaw(self, key: str) -> None:
        Asker.from_environment(self._bucket).ask(f"{self._prefix}/{key}" if self._prefix else key)


def _endpoint() -> str:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""


@contextmanager
def _translated(key: str) -> Iterator[None]:
    """Only the answer "no such object" is absence. The library's own words may hold addresses: their kind is told."""
    try:
        yield
    except FileNotFoundError:
        raise Gone(f"{key} is not in the bucket.") from None
    except (UsageFault, Unreachable, Gone, GeneratorExit):
        raise
    except Exception as fault:  # noqa: BLE001 - the library's errors have no common base that is promised
        if COLD in str(fault):
            raise Frozen(
                f"{key} lies in a cold storage class and cannot be read before it was brought back, which takes hours.",
                "Restore it with the provider's own tools; of packs, `restore --wait-for-thaw HOURS` asks itself.",
            ) from None
        kind = type(fault).__name__
        raise Unreachable(
            f"The bucket did not give {key} ({kind}).",
            "Check AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and try again.",
        ) from None
