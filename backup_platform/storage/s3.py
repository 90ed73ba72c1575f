"""A store in a bucket of any S3-compatible service.

Nothing here takes an error for absence, ends a listing early or overwrites unasked. Requests wait for a bounded time
and are repeated a few times with growing pauses; what is read is held to its announced length. Messages name keys and
what to do, never endpoints or credentials.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from hashlib import sha256 as new_sha256
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from backup_platform.storage.base import AlreadyThere, NotFound, Store, StoreUnavailable, check_key, check_prefix
from backup_platform.storage.pace import PIECE, pace_in_force
from backup_platform.storage.s3_content import PART_BYTES, Content
from backup_platform.storage.s3_faults import (
    CALL_FAULTS,
    REPEATED_ALREADY,
    is_outcome_unknown,
    status_of,
    store_error,
    translated,
)
from backup_platform.storage.s3_listing import list_folders, list_pages
from backup_platform.storage.s3_reader import opened
from backup_platform.storage.s3_thawing import Thawing, ask_for_thawing, thawing_of, wait
from backup_platform.storage.s3_wire import Account, Patience, Place, make_client
from backup_platform.storage.s3_writing import Abilities, Keeping, Writer

__all__ = ["Abilities", "Account", "Keeping", "Patience", "Place", "S3Store", "Thawing"]

READ_ATTEMPTS = 4
FIRST_PAUSE = 0.1
READ_SIZE = 1024 * 1024
LONGEST_READ = 600.0
"""Seconds for one body, however slowly it trickles."""

Result = TypeVar("Result")


class S3Store(Store):
    """Objects in a bucket, each under `prefix/key`. May be used by several threads; one a process, not across forks."""

    def __init__(
        self,
        place: Place,
        account: Account,
        *,
        prefix: str = "",
        abilities: Abilities | None = None,
        keeping: Keeping | None = None,
        patience: Patience | None = None,
    ) -> None:
        self.bucket, self.prefix = place.bucket, check_prefix(prefix)
        self.abilities = abilities or Abilities()
        self.client = make_client(place, account, patience or Patience())
        self._writer = Writer(self, self.abilities, keeping or Keeping())

    def full(self, key: str) -> str:
        """The name in the bucket of a key."""
        return f"{self.prefix}/{check_key(key)}" if self.prefix else check_key(key)

    def put(
        self, key: str, data: bytes | BinaryIO, *, sha256: bytes | None = None, only_if_absent: bool = True
    ) -> None:
        self._writer.put(check_key(key), data, sha256, only_if_absent)

    def adopt(self, key: str, path: Path) -> None:
        check_key(key)
        with translated(key):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as source:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise StoreUnavailable(f"{key}: what should be adopted is not a plain file.")
            self.put(key, source)

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        check_key(key)
        if length == 0:
            self.size(key)
            return b""
        return self._again(lambda: self._get(key, offset, length), key)

    def open(self, key: str) -> BinaryIO:
        head = self.head(key)
        tag = head["ETag"]
        return cast("BinaryIO", opened(head["ContentLength"], lambda at, length: self._exactly(key, at, length, tag)))

    def size(self, key: str) -> int:
        return int(self.head(key)["ContentLength"])

    def list(self, prefix: str = "") -> Iterator[str]:
        folder = "/".join(part for part in (self.prefix, check_prefix(prefix)) if part)
        start = f"{folder}/" if folder else ""
        listing = list_pages if self.abilities.ordered_listing else list_folders
        own = len(self.prefix) + 1 if self.prefix else 0
        for name in listing(lambda **asked: self._page(prefix, asked), start):
            if _is_key(name[own:]):  # others put into the bucket what is no key of ours
                yield name[own:]

    def delete(self, key: str) -> None:
        self.size(key)  # a service says "deleted" of what was never there
        try:
            self.client.delete_object(Bucket=self.bucket, Key=self.full(key))
        except CALL_FAULTS as fault:
            if not is_outcome_unknown(fault) or self.exists(key):
                raise store_error(fault, key) from None

    def head(self, key: str) -> dict[str, Any]:
        """What the service says of an object. Raises NotFound only when it names the key as missing."""
        return self._again(lambda: self._head(key), key)

    def compare(self, key: str, content: Content) -> bool | None:
        """Whether an object is this content: by the service's SHA-256, else by reading it. None: it is not there."""
        try:
            head = self.head(key)
        except NotFound:
            return None
        if head["ContentLength"] != content.size:
            return False
        if self.abilities.checksums and (named := head.get("ChecksumSHA256")) in content.checksums:
            return bool(named)
        found = [new_sha256(self._exactly(key, at, length, head["ETag"])).digest() for at, length in _spans(content)]
        return tuple(found) == content.digests

    def thaw(self, key: str, days: int = 7) -> None:
        """Ask a cold class for an object, readable for so many days once it is there. Asking again does no harm."""
        with translated(key):
            ask_for_thawing(self.client, self.bucket, self.full(key), days)

    def thawing(self, key: str) -> Thawing:
        """Whether an object can be read now."""
        return thawing_of(self.head(key))

    def wait_until_thawed(self, key: str, seconds: float, *, pause: float = 1.0) -> None:
        """Wait for an object that was asked for. Raises NotThawed after so many seconds."""
        wait(lambda: self.thawing(key), key, seconds, pause)

    def clear_unfinished(self, older_than_hours: float = 48) -> int:
        """End uploads in parts that nobody finished; their parts cost money. Returns how many."""
        with translated("the store"):
            before = time.time() - older_than_hours * 3600
            ours = f"{self.prefix}/" if self.prefix else ""
            return sum(1 for _ in self._end_unfinished(ours, lambda one: one["Initiated"].timestamp() < before))

    def forget_parts(self, key: str) -> None:
        name = self.full(key)
        with translated(key):
            for _ in self._end_unfinished(name, lambda one: one["Key"] == name):
                pass

    def _end_unfinished(self, prefix: str, is_meant: Callable[[dict[str, Any]], bool]) -> Iterator[str]:
        pages = self.client.get_paginator("list_multipart_uploads")
        for page in pages.paginate(Bucket=self.bucket, Prefix=prefix):
            for upload in page.get("Uploads", []):
                if is_meant(upload):
                    self.client.abort_multipart_upload(
                        Bucket=self.bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                    )
                    yield upload["Key"]

    def _head(self, key: str) -> dict[str, Any]:
        mode = {"ChecksumMode": "ENABLED"} if self.abilities.checksums else {}
        try:
            found = self.client.head_object(Bucket=self.bucket, Key=self.full(key), **mode)
        except CALL_FAULTS as fault:
            if 400 <= status_of(fault) < 500:
                self._ask_why(key)
            raise store_error(fault, key) from None
        return cast("dict[str, Any]", found)

    def _ask_why(self, key: str) -> None:
        """A HEAD has no words for its refusal; the same question as a GET has. Raises what it says."""
        with translated(key):
            answer = self.client.get_object(Bucket=self.bucket, Key=self.full(key), Range="bytes=0-0")
            answer["Body"].close()

    def _get(self, key: str, offset: int, length: int | None) -> bytes:
        whole = offset == 0 and length is None
        asked = {} if whole else {"Range": f"bytes={offset}-{'' if length is None else offset + length - 1}"}
        if whole and self.abilities.checksums:
            asked["ChecksumMode"] = "ENABLED"  # then the client compares what arrives
        try:
            answer = self.client.get_object(Bucket=self.bucket, Key=self.full(key), **asked)
            given = answer["ContentLength"]
            if not whole:
                self._check_span(answer, offset, key)
            if length is not None and given > length:
                raise StoreUnavailable(f"{key}: the service gave more than was asked for.")
            return _read(answer["Body"], given, key)
        except CALL_FAULTS as fault:
            if status_of(fault) == 416:
                return b""
            raise

    def _exactly(self, key: str, offset: int, length: int, tag: str) -> bytes:
        """A span of an object that still is the one with this tag: fewer bytes would be taken for its end."""
        if not length:
            return b""

        def attempt() -> bytes:
            answer = self.client.get_object(
                Bucket=self.bucket, Key=self.full(key), IfMatch=tag, Range=f"bytes={offset}-{offset + length - 1}"
            )
            self._check_span(answer, offset, key)
            return _read(answer["Body"], length, key)

        try:
            return self._again(attempt, key)
        except AlreadyThere:  # how a condition that does not hold is answered
            raise StoreUnavailable(f"{key} was replaced while it was read.") from None

    @staticmethod
    def _check_span(answer: dict[str, Any], offset: int, key: str) -> None:
        if not str(answer.get("ContentRange", "")).startswith(f"bytes {offset}-"):
            raise StoreUnavailable(f"{key}: the service does not give parts of objects.")

    def _page(self, prefix: str, asked: dict[str, Any]) -> dict[str, Any]:
        name = prefix or "the store"
        return self._again(lambda: self.client.list_objects_v2(Bucket=self.bucket, **asked), name, listing=True)

    def _again(self, attempt: Callable[[], Result], key: str, *, listing: bool = False) -> Result:
        """Read, and again after what the client does not repeat: a body cut off or wrong, an answer that is none."""
        for number in range(READ_ATTEMPTS):
            try:
                return attempt()
            except CALL_FAULTS as fault:
                if isinstance(fault, REPEATED_ALREADY) or number == READ_ATTEMPTS - 1:
                    error = store_error(fault, key)
                    absent = listing and isinstance(error, NotFound)  # a listing has no word for absence
                    raise (StoreUnavailable(str(error)) if absent else error) from None
            time.sleep(FIRST_PAUSE * 2**number)
        raise AssertionError("unreachable")


def _read(body: Any, length: int, key: str) -> bytes:
    """A whole body of a known length, within a bounded time. Raises what the body raises when it is cut off."""
    end, pace = time.monotonic() + LONGEST_READ, pace_in_force()
    pieces, size = [], 0
    with body:
        while piece := body.read(PIECE if pace else READ_SIZE):
            pieces.append(piece)
            size += len(piece)
            if pace:
                pace.moved(len(piece))
            if size > length or time.monotonic() > end:
                raise StoreUnavailable(f"{key}: the service gave more than it said, or too slowly.")
    if size != length:
        raise OSError("The body was cut off.")
    return b"".join(pieces)


def _spans(content: Content) -> Iterator[tuple[int, int]]:
    for start in range(0, max(content.size, 1), PART_BYTES):
        yield start, min(PART_BYTES, content.size - start)


def _is_key(name: str) -> bool:
    try:
        check_key(name)
    except ValueError:
        return False
    return True
