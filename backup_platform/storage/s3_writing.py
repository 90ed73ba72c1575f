"""Putting objects into a bucket: whole or in parts, never over another one, and examined when the outcome is unknown.

A request that ends in a timeout, a lost connection or a 5xx may have been done all the same, and so may the first of
two attempts whose second is answered "already there". Then the object is looked at: the same content is success,
another one is AlreadyThere, absence is a failure that may be repeated.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import md5, sha256
from itertools import chain
from typing import Any, BinaryIO

from backup_platform.storage.base import AlreadyThere, ChecksumMismatch, StoreUnavailable
from backup_platform.storage.pace import Pace, pace_in_force, paced, wait_for
from backup_platform.storage.s3_content import MAX_PARTS, PART_BYTES, Content, encoded, pieces
from backup_platform.storage.s3_faults import CALL_FAULTS, is_outcome_unknown, store_error, translated

PARTS_AT_ONCE = 4
COLD_SUFFIXES = (".pack", ".parity")
"""What a storage class is for. Roots and records are small, and a catalogue is rebuilt from them at once."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a service was seen to do (`probe`). What was not seen is not relied on."""

    conditional_put: bool = False
    """`If-None-Match: *` is honoured by a put; else the key is examined first, and two writers at once may both win."""
    conditional_complete: bool = False
    """The same for the end of a put in parts."""
    checksums: bool = False
    """SHA-256 checksums are verified by the service; else every put is read back."""
    ordered_listing: bool = False
    """Keys are listed in the order of their bytes; else the listing goes folder by folder."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """How objects are kept: a storage class for packs ("" is the bucket's own), days under Object Lock (0: none)."""

    storage_class: str = ""
    lock_days: int = 0


class Writer:
    """Writes the objects of one store; `store` is the S3Store that it belongs to."""

    def __init__(self, store: Any, abilities: Abilities, keeping: Keeping) -> None:
        self.store, self.client, self.bucket = store, store.client, store.bucket
        self.abilities, self.keeping = abilities, keeping

    def put(self, key: str, data: bytes | BinaryIO, expected: bytes | None, only_if_absent: bool) -> None:
        """Store a content under a checked key; see Store.put."""
        parts = pieces(data)
        first = next(parts)
        if len(first) < PART_BYTES:
            self._put_whole(key, first, expected, only_if_absent)
        else:
            self._put_in_parts(key, chain([first], parts), expected, only_if_absent)

    def _put_whole(self, key: str, body: bytes, expected: bytes | None, only_if_absent: bool) -> None:
        digest = sha256(body).digest()
        _check(key, digest, expected)
        if only_if_absent and not self.abilities.conditional_put:
            self._refuse_taken(key)
        condition = {"IfNoneMatch": "*"} if only_if_absent and self.abilities.conditional_put else {}
        content = Content(len(body), (digest,))
        try:
            self.client.put_object(
                Bucket=self.bucket, Key=self.store.full(key), Body=paced(body, pace_in_force()),
                ContentLength=len(body), **condition, **self._sum(body, digest), **self._kept(key),
            )  # fmt: skip
        except CALL_FAULTS as fault:
            self._examine(key, content, fault)
            return
        self._read_back(key, content)

    def _put_in_parts(self, key: str, parts: Iterator[bytes], expected: bytes | None, only_if_absent: bool) -> None:
        if only_if_absent:
            self._refuse_taken(key)  # spares the sending; the condition at the end decides
        upload = self._begin(key)
        try:
            content, sent = self._send(key, upload, parts, expected)
            if only_if_absent and not self.abilities.conditional_complete:
                self._refuse_taken(key)
            self._complete(key, upload, sent, content, only_if_absent)
        except BaseException:
            with suppress(*CALL_FAULTS):  # what stays is cleared away by `clear_unfinished`
                self.client.abort_multipart_upload(Bucket=self.bucket, Key=self.store.full(key), UploadId=upload)
            raise

    def _begin(self, key: str) -> str:
        algorithm = {"ChecksumAlgorithm": "SHA256"} if self.abilities.checksums else {}
        with translated(key):
            made = self.client.create_multipart_upload(
                Bucket=self.bucket, Key=self.store.full(key), **algorithm, **self._kept(key)
            )
        return str(made["UploadId"])

    def _send(
        self, key: str, upload: str, parts: Iterator[bytes], expected: bytes | None
    ) -> tuple[Content, list[dict[str, Any]]]:
        """Send the parts, a few at a time; their sums, and what the end of the upload must name."""
        whole, size, digests = sha256(), 0, []
        waiting: deque[Future[dict[str, Any]]] = deque()
        sent: list[dict[str, Any]] = []
        pace = pace_in_force()
        with ThreadPoolExecutor(PARTS_AT_ONCE, thread_name_prefix="part") as pool, _stopping(pace):
            for number, part in enumerate(parts, 1):
                if number > MAX_PARTS:
                    raise StoreUnavailable(f"{key} is too large for one object.")
                if expected is not None:
                    whole.update(part)
                size += len(part)
                digests.append(sha256(part).digest())
                if len(waiting) == PARTS_AT_ONCE:
                    sent.append(wait_for(waiting.popleft(), pace))
                waiting.append(pool.submit(self._send_part, key, upload, number, part, digests[-1], pace))
            sent += [wait_for(future, pace) for future in waiting]
        _check(key, whole.digest(), expected)
        return Content(size, tuple(digests)), sent

    def _send_part(
        self, key: str, upload: str, number: int, part: bytes, digest: bytes, pace: Pace | None
    ) -> dict[str, Any]:
        with translated(key):
            answer = self.client.upload_part(
                Bucket=self.bucket, Key=self.store.full(key), UploadId=upload, PartNumber=number,
                Body=paced(part, pace), ContentLength=len(part), **self._sum(part, digest),
            )  # fmt: skip
        named = {"ChecksumSHA256": encoded(digest)} if self.abilities.checksums else {}
        return {"PartNumber": number, "ETag": answer["ETag"], **named}

    def _complete(
        self, key: str, upload: str, sent: list[dict[str, Any]], content: Content, only_if_absent: bool
    ) -> None:
        condition = {"IfNoneMatch": "*"} if only_if_absent and self.abilities.conditional_complete else {}
        try:
            self.client.complete_multipart_upload(
                Bucket=self.bucket, Key=self.store.full(key), UploadId=upload, MultipartUpload={"Parts": sent},
                **condition,
            )  # fmt: skip
        except CALL_FAULTS as fault:
            self._examine(key, content, fault)
            return
        self._read_back(key, content)

    def _examine(self, key: str, content: Content, fault: Exception) -> None:
        """After a fault: return if the content is there all the same; raise what the fault means otherwise."""
        if not is_outcome_unknown(fault):
            raise store_error(fault, key) from None
        found = self.store.compare(key, content)
        if found is None:
            error = store_error(fault, key)
            taken = isinstance(error, AlreadyThere)  # it was there a moment ago
            raise StoreUnavailable(f"{key}: it came and went while it was put.") if taken else error from None
        if not found:
            raise AlreadyThere(f"{key} holds other bytes.") from None

    def _read_back(self, key: str, content: Content) -> None:
        if not self.abilities.checksums and not self.store.compare(key, content):
            raise StoreUnavailable(f"{key}: what was put there does not come back the same.")

    def _refuse_taken(self, key: str) -> None:
        if self.store.exists(key):
            raise AlreadyThere(f"{key} is there already.")

    def _sum(self, body: bytes, digest: bytes) -> dict[str, str]:
        if self.abilities.checksums:
            return {"ChecksumSHA256": encoded(digest)}
        return {"ContentMD5": encoded(md5(body, usedforsecurity=False).digest())}

    def _kept(self, key: str) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        if self.keeping.storage_class and key.endswith(COLD_SUFFIXES):
            kept["StorageClass"] = self.keeping.storage_class
        if self.keeping.lock_days:
            until = datetime.now(UTC) + timedelta(days=self.keeping.lock_days)
            kept |= {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": until}
        return kept


@contextmanager
def _stopping(pace: Pace | None) -> Iterator[None]:
    """Whatever ends the sending ends the parts that are on their way too: nobody waits for them."""
    try:
        yield
    except BaseException:
        if pace is not None:
            pace.stop()
        raise


def _check(key: str, digest: bytes, expected: bytes | None) -> None:
    if expected is not None and digest != expected:
        raise ChecksumMismatch(f"{key}: the data does not have the SHA-256 that it came with.")
