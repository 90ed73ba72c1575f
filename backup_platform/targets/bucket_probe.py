"""What a bucket is asked beyond what every store must do: its checksums, conditions, listings, and its clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import Any

from backup_platform.storage.base import StoreError
from backup_platform.storage.s3 import Abilities, Keeping, Patience, S3Store
from backup_platform.storage.s3_content import encoded
from backup_platform.storage.s3_faults import CALL_FAULTS, code_of, status_of, translated
from backup_platform.storage.s3_thawing import COLD_CLASSES
from backup_platform.targets.buckets import make_store
from backup_platform.targets.findings import Report
from backup_platform.targets.models import Target
from backup_platform.targets.probe import probe_store

PAGE_KEYS = 1005
"""More than any service lists at a time."""
AT_ONCE = 8
MAX_SKEW_SECONDS = 60
PART_BYTES = 5 * 1024 * 1024
ORDER = ("a-b/x", "a.b", "a/y", "ab")
"""In the order of their bytes, in which services that think in folders do not list them."""
UNKEPT = Keeping()
"""Trial objects are neither locked nor cold: they could not be cleaned away, or would be paid for by the month."""
HASTE = Patience(connect=10, silence=20, attempts=2)
"""A worker waits for the answers, and others wait for the worker."""
CLEANING_SECONDS = 60.0


def probe_bucket(target: Target, folder: str, report: Report) -> None:
    """All steps, in a folder that is removed afterwards. Raises StoreError."""
    store = _trial_store(target, Abilities(), report)
    with _cleaned(store, folder, report):
        _clock(store, report)
        abilities = Abilities(
            checksums=_checksums(store, folder, report),
            conditional_put=_conditional_put(store, folder, report),
            conditional_complete=_conditional_complete(store, folder, report),
        )
        careful = _trial_store(target, abilities, report)
        probe_store(careful, f"{folder}/store", report)
        _paging(careful, f"{folder}/pages", report)
        in_order = _trial_store(target, replace(abilities, ordered_listing=True), report)
        ordered = _ordered(in_order, f"{folder}/order", report)
        report.figures["ordered_listing"] = ordered and report.is_good("paging")
    _lock(store, target, report)
    _storage_class(target, report)
    with suppress(StoreError):
        store.clear_unfinished()


def _trial_store(target: Target, abilities: Abilities, report: Report) -> S3Store:
    """A store whose every request is refused once the probe has taken too long."""
    store = make_store(target, abilities, UNKEPT, HASTE)
    store.client.meta.events.register("before-call.s3", lambda **_: report.check_time())
    return store


@contextmanager
def _cleaned(store: S3Store, folder: str, report: Report) -> Iterator[None]:
    """Remove the folder afterwards; what cannot be removed now is only some small objects."""
    try:
        yield
    finally:
        report.seconds += CLEANING_SECONDS
        with suppress(StoreError):
            _each(store.delete, list(store.list(folder)))


def _each(act: Callable[[str], object], keys: list[str]) -> None:
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="probe") as pool:
        list(pool.map(act, keys))


def _clock(store: S3Store, report: Report) -> None:
    """Also the first request of all: what is wrong with address, bucket or credentials is said here."""
    with translated("the bucket"):
        answer = store.client.list_objects_v2(Bucket=store.bucket, MaxKeys=1)
    stated = answer["ResponseMetadata"]["HTTPHeaders"].get("date", "")
    try:
        skew = (datetime.now(UTC) - parsedate_to_datetime(stated)).total_seconds()
    except (TypeError, ValueError):
        report.note("clock", False, "The service does not say what time it is.")
        return
    report.figures["clock_skew_seconds"] = round(skew, 1)
    good = abs(skew) <= MAX_SKEW_SECONDS
    late = f"This server's clock is {abs(skew):.0f} seconds {'ahead of' if skew > 0 else 'behind'} the service's"
    report.note("clock", good, "The clocks agree." if good else f"{late}: set it (NTP), or requests will be refused.")


def _checksums(store: S3Store, folder: str, report: Report) -> bool:
    """Whether a wrong SHA-256 is refused and a right one kept."""
    name, body = store.full(f"{folder}/checksum"), b"checksum"
    wrong = encoded(sha256(b"another").digest())
    refused = _refusal(store.client.put_object, Bucket=store.bucket, Key=name, Body=body, ChecksumSHA256=wrong)
    good = refused in range(400, 500) and not store.exists(f"{folder}/checksum")
    if good:
        right = encoded(sha256(body).digest())
        good = not _refusal(store.client.put_object, Bucket=store.bucket, Key=name, Body=body, ChecksumSHA256=right)
    words = "Wrong SHA-256 checksums are refused."
    return report.note("checksums", good, words if good else "SHA-256 is not verified there: each put is read back.")


def _conditional_put(store: S3Store, folder: str, report: Report) -> bool:
    name = store.full(f"{folder}/condition")
    asked = {"Bucket": store.bucket, "Key": name, "IfNoneMatch": "*"}
    first = _refusal(store.client.put_object, Body=b"first", **asked)
    second = _refusal(store.client.put_object, Body=b"second", **asked)
    good = first == 0 and second == 412 and store.get(f"{folder}/condition") == b"first"
    words = "A put never overwrites (If-None-Match)."
    instead = "Conditional puts are not honoured: each key is examined before it is written."
    return report.note("conditional_put", good, words if good else instead)


def _conditional_complete(store: S3Store, folder: str, report: Report) -> bool:
    """The same for an object in parts, of which the last may be small."""
    key = f"{folder}/parts"
    first = _in_parts(store, key, b"1" * PART_BYTES)
    second = _in_parts(store, key, b"2" * PART_BYTES) if first == 0 else 0
    good = first == 0 and second == 412 and store.get(key, PART_BYTES) == b"1"
    words = "An upload in parts never overwrites."
    instead = "Conditional ends of uploads in parts are not honoured: each key is examined before."
    if first:
        instead = "Uploads in parts are refused; objects above 8 MiB cannot be kept there."
    return report.note("conditional_complete", good, words if good else instead)


def _in_parts(store: S3Store, key: str, body: bytes) -> int:
    """Put body and its first byte as two parts; the status of a refusal, 0 when it was done."""
    where = {"Bucket": store.bucket, "Key": store.full(key)}
    with translated(key):
        upload = store.client.create_multipart_upload(**where)["UploadId"]
        sent = [
            {"PartNumber": number, "ETag": store.client.upload_part(
                **where, UploadId=upload, PartNumber=number, Body=part)["ETag"]}
            for number, part in enumerate((body, body[:1]), 1)
        ]  # fmt: skip
    refused = _refusal(store.client.complete_multipart_upload, **where, UploadId=upload,
                       MultipartUpload={"Parts": sent}, IfNoneMatch="*")  # fmt: skip
    if refused:
        with suppress(*CALL_FAULTS):
            store.client.abort_multipart_upload(**where, UploadId=upload)
    return refused


def _paging(store: S3Store, folder: str, report: Report) -> None:
    keys = [f"{folder}/{number:05}" for number in range(PAGE_KEYS)]
    _each(lambda key: store.put(key, b"", only_if_absent=False), keys)
    good = list(store.list(folder)) == keys
    words = f"Listings go on beyond a page ({PAGE_KEYS:,} keys)."
    report.note("paging", good, words if good else "A listing of more than 1,000 keys is not complete.")


def _ordered(store: S3Store, folder: str, report: Report) -> bool:
    for name in ORDER:
        store.put(f"{folder}/{name}", b"", only_if_absent=False)
    try:
        good = list(store.list(folder)) == [f"{folder}/{name}" for name in ORDER]
    except StoreError:
        good = False
    words = "Keys are listed in order." if good else "Keys are listed out of order: listings go folder by folder."
    return report.note("order", good, words)


def _lock(store: S3Store, target: Target, report: Report) -> None:
    """Whether the bucket has Object Lock. Nothing is locked for trial: it would stay for as long as it says."""
    try:
        found = store.client.get_object_lock_configuration(Bucket=store.bucket)
        on = found.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled"
    except CALL_FAULTS:
        on = False
    report.figures["object_lock"] = on
    if target.lock_days:
        words = "The bucket has Object Lock." if on else "The bucket has no Object Lock: clear the days, or make one."
        report.note("lock", on, words)


def _storage_class(target: Target, report: Report) -> None:
    cold = target.storage_class in COLD_CLASSES
    report.figures["cold"] = cold
    if cold and report.is_good("checksums"):
        report.note("storage_class", True, f"{target.storage_class} is cold: a restore from there waits for hours.")
    elif cold:
        words = f"{target.storage_class} is cold, so what is put cannot be read back, and SHA-256 is not verified there"
        report.note("write", False, f"{words}: nobody would know that a pack arrived whole. Choose another class.")


def _refusal(call: Callable[..., Any], **asked: Any) -> int:
    """The status that a call is refused with, 0 when it is done. Raises StoreError for what says nothing about it."""
    try:
        call(**asked)
    except CALL_FAULTS as fault:
        status = status_of(fault)
        if status and status < 500 and code_of(fault) not in {"AccessDenied", "NoSuchBucket"}:
            return status
        if status == 501:
            return status
        with translated("the probe"):
            raise
    return 0
