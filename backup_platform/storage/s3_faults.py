"""What a bucket's answers mean: absence, refusal, a full store, or no answer. Sentences hold nothing that it wrote.

*Error is not absence*: only the service's own word `NoSuchKey` says that a key is not there. A bare 404 (of a HEAD, of
a bucket that is gone, of some other server at that address) says nothing of the kind.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    FlexibleChecksumError,
    HTTPClientError,
    ReadTimeoutError,
    SSLError,
)
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from backup_platform.safe_addresses import AddressRefused
from backup_platform.storage.base import (
    AlreadyThere,
    ChecksumMismatch,
    NoSpace,
    NotFound,
    NotThawed,
    StoreError,
    StoreUnavailable,
)

CALL_FAULTS = (ClientError, BotoCoreError, ResponseParserError, HTTPError, OSError, AddressRefused)
"""All that a call of the client or the reading of a body can raise."""
REPEATED_ALREADY = (ClientError, EndpointConnectionError, ConnectTimeoutError, ReadTimeoutError, SSLError)
"""What the client itself repeated before it gave up, or what would not change."""

ABSENT = {"NoSuchKey"}
TAKEN = {"PreconditionFailed"}
FROZEN = {"InvalidObjectState"}
WRONG_SUM = {"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"}
FULL = {"QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded",
        "StorageQuotaExceeded", "ServiceQuotaExceeded"}  # fmt: skip
CREDENTIALS = (
    "The credentials are refused ({code}): they are wrong, were revoked, or have expired. Enter new ones at the target."
)
SENTENCES = {
    "NoSuchBucket": "There is no such bucket: it was deleted, or its name or region is wrong.",
    "AccessDenied": (
        "Access is denied: these credentials lack a right, or the object is under a lock. They need to read, list,"
        " write and delete in this bucket."
    ),
    "AllAccessDisabled": "The provider has disabled access to this bucket.",
    "AccountProblem": "The provider reports a problem with the account; ask them.",
    "RequestTimeTooSkewed": (
        "This server's clock and the bucket's differ by more than the bucket allows: set the clock (NTP) and try again."
    ),
    "PermanentRedirect": "The bucket is in another region or at another endpoint: correct the target's region.",
    "AuthorizationHeaderMalformed": "The target's region is wrong for this bucket: correct it.",
    "SlowDown": "The service asks to go slower; it is tried again later.",
    "NotImplemented": "The service cannot do what was asked; probe the target again.",
    "MethodNotAllowed": "The service cannot do what was asked; probe the target again.",
    **dict.fromkeys(
        ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired",
         "InvalidSecurity", "NotSignedUp"), CREDENTIALS,
    ),
}  # fmt: skip
STATUSES = {
    301: SENTENCES["PermanentRedirect"],
    307: SENTENCES["PermanentRedirect"],
    401: CREDENTIALS,
    403: "Access is denied (403).",
    404: "The answer was 404 without a reason: is this address an S3 service, and is the bucket there?",
    429: SENTENCES["SlowDown"],
    503: "The service is not available just now (503).",
}
_CODE = re.compile(r"[A-Za-z0-9]{1,60}")


def code_of(fault: Exception) -> str:
    """The service's word for an error; empty when there was no answer, or no word in it."""
    found = fault.response.get("Error", {}).get("Code", "") if isinstance(fault, ClientError) else ""
    return found if isinstance(found, str) and _CODE.fullmatch(found) else ""


def status_of(fault: Exception) -> int:
    """The HTTP status of an error; 0 when there was no answer."""
    return int(_metadata(fault).get("HTTPStatusCode") or 0)


def was_repeated(fault: Exception) -> bool:
    """Whether an error answers a repetition of the request: an earlier one may have been done."""
    return int(_metadata(fault).get("RetryAttempts") or 0) > 0


def is_outcome_unknown(fault: Exception) -> bool:
    """Whether what was asked for may have happened in spite of the error."""
    status = status_of(fault)
    return status == 0 or status >= 500 or status in {408, 409} or was_repeated(fault)


def store_error(fault: Exception, key: str) -> StoreError:
    """The contract's error for a fault of a call about `key`."""
    code, status = code_of(fault), status_of(fault)
    if code in ABSENT:
        return NotFound(f"{key} is not there.")
    if code in TAKEN or status == 412:
        return AlreadyThere(f"{key} is there already.")
    if code in FROZEN:
        return NotThawed(f"{key} is in a cold storage class: it must be thawed, which takes hours.")
    if code in WRONG_SUM:
        return ChecksumMismatch(f"{key}: what arrived does not have its checksum; nothing was stored.")
    if code in FULL or status == 507:
        return NoSpace(f"{key}: the bucket is full ({code or status}).")
    sentence = _sentence(fault, code, status)
    away = StoreUnavailable(f"{key}: {sentence}")
    away.of_the_store = sentence
    return away


@contextmanager
def translated(key: str) -> Iterator[None]:
    """Turn a call's errors into the contract's. Nothing of the original goes along: it may hold parts of a request."""
    try:
        yield
    except CALL_FAULTS as fault:
        raise store_error(fault, key) from None


def _metadata(fault: Exception) -> dict[str, Any]:
    return fault.response.get("ResponseMetadata", {}) if isinstance(fault, ClientError) else {}


def _sentence(fault: Exception, code: str, status: int) -> str:
    if words := SENTENCES.get(code) or STATUSES.get(status):
        return words.format(code=code or status)
    if status:
        return f"The service answered {status}{f' ({code})' if code and code != str(status) else ''}."
    refused = _cause(fault, AddressRefused)
    if refused is not None:
        return f"The endpoint's address is refused. {refused}"
    return _no_answer(fault)


def _no_answer(fault: Exception) -> str:
    if isinstance(fault, SSLError):
        return "No TLS connection could be made: is the endpoint's certificate valid for its name?"
    if isinstance(fault, ConnectTimeoutError | ReadTimeoutError | TimeoutError):
        return "The service did not answer in time."
    if isinstance(fault, EndpointConnectionError | ConnectionClosedError):
        return "The service cannot be reached."
    if isinstance(fault, ResponseParserError):
        return "Its answer was cut off, or is no answer of an S3 service."
    if isinstance(fault, FlexibleChecksumError):
        return "What arrived does not have the checksum that the service keeps for it."
    return f"The exchange with the service broke off ({type(fault).__name__})."


def _cause(fault: Exception, kind: type[Exception]) -> Exception | None:
    """The first fault of a kind behind this one; botocore wraps what it does not know."""
    seen: list[object] = [fault, fault.__cause__, fault.__context__]
    if isinstance(fault, HTTPClientError):
        seen.append(fault.kwargs.get("error"))
    return next((one for one in seen if isinstance(one, kind)), None)
