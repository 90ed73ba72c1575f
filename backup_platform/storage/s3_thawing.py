"""Cold storage classes: objects there are asked for, and can be read hours later, for some days."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from botocore.exceptions import ClientError

from backup_platform.storage.base import NotThawed
from backup_platform.storage.s3_faults import code_of

COLD_CLASSES = {"GLACIER", "DEEP_ARCHIVE"}
LONGEST_PAUSE = 300.0
IN_HAND = {"RestoreAlreadyInProgress", "ObjectAlreadyInActiveTierError"}


class Thawing(StrEnum):
    """Whether an object can be read."""

    READABLE = "readable"
    UNDER_WAY = "under-way"
    """It was asked for, and is not there yet."""
    COLD = "cold"
    """It was not asked for."""


def ask_for_thawing(client: Any, bucket: str, name: str, days: int) -> None:
    """Ask for an object. Raises ClientError, but not for one that was asked for before or needs no asking."""
    wish = {"Days": days, "GlacierJobParameters": {"Tier": "Standard"}}
    try:
        client.restore_object(Bucket=bucket, Key=name, RestoreRequest=wish)
    except ClientError as fault:
        if code_of(fault) not in IN_HAND:
            raise


def thawing_of(head: dict[str, Any]) -> Thawing:
    """What a HEAD says about it."""
    restored = str(head.get("Restore", ""))
    if 'ongoing-request="true"' in restored:
        return Thawing.UNDER_WAY
    if head.get("StorageClass") in COLD_CLASSES and 'ongoing-request="false"' not in restored:
        return Thawing.COLD
    return Thawing.READABLE


def wait(ask: Callable[[], Thawing], key: str, seconds: float, pause: float) -> None:
    """Ask with growing pauses until the object can be read. Raises NotThawed when the time is over."""
    end = time.monotonic() + seconds
    while (state := ask()) is not Thawing.READABLE:
        if time.monotonic() + pause > end:
            words = "not asked for" if state is Thawing.COLD else "still being thawed"
            raise NotThawed(f"{key} is in a cold storage class, and {words}.")
        time.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)
