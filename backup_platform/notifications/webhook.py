"""Webhooks as Standard Webhooks 1.0 describes them: an id, a time, and a signature over both and the body.

    webhook-id:        msg_<id>, the same for every attempt
    webhook-timestamp: seconds since 1970, of this attempt
    webhook-signature: v1,<base64 of HMAC-SHA256(key, "id.timestamp.body")>, one for each valid key, blanks between

A key is shown as `whsec_<base64>`. While keys are changed, the former one signs as well until its time is over.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from backup_platform.notifications.messages import Message
from backup_platform.notifications.outcomes import DELIVERED, Outcome, Route
from backup_platform.notifications.safe_http import Answer, post
from backup_platform.safe_addresses import networks

PREFIX = "whsec_"
KEY_BYTES = 32
FORMER_KEY_FOR = timedelta(hours=24)
GONE = 410


def new_key() -> str:
    """A fresh signing key, as it is shown (once)."""
    return PREFIX + base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def key_bytes(shown: str) -> bytes:
    """The key behind its shown form. Raises ValueError unless it is 24 to 64 bytes, as the standard asks."""
    try:
        key = base64.b64decode(shown.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not shown.startswith(PREFIX) or not 24 <= len(key) <= 64:
        raise ValueError(f"A signing key is {PREFIX} and the base64 of 24 to 64 bytes.")
    return key


def rotated(held: dict[str, Any], fresh: str) -> dict[str, Any]:
    """A channel's secrets with a fresh key first, and the former one valid for another day."""
    former = [{"key": held["key"], "until": (timezone.now() + FORMER_KEY_FOR).isoformat()}] if held.get("key") else []
    return {**held, "key": fresh, "former": former}


def valid_keys(held: dict[str, Any]) -> list[str]:
    """The keys that sign now, the newest first."""
    now = timezone.now()
    former = [item["key"] for item in held.get("former", []) if datetime.fromisoformat(item["until"]) > now]
    return [held["key"], *former] if held.get("key") else former


def signature(keys: Sequence[str], message_id: str, timestamp: int, body: bytes) -> str:
    """The header's value."""
    content = f"{message_id}.{timestamp}.".encode() + body
    return " ".join(
        "v1," + base64.b64encode(hmac.new(key_bytes(key), content, hashlib.sha256).digest()).decode() for key in keys
    )


def send_hook(route: Route, message: Message) -> Outcome:
    """Post one message, signed."""
    body = json.dumps(message.document, separators=(",", ":")).encode()
    message_id, timestamp = f"msg_{message.uid}", int(time.time())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Strongroom",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(valid_keys(route.secrets), message_id, timestamp, body),
    }
    allowed = networks(settings.STRONGROOM_WEBHOOK_NETWORKS)
    return _judge(post(str(route.secrets.get("url", "")), body, headers, allowed))


def _judge(answer: Answer) -> Outcome:
    if answer.status is None:
        return Outcome(ok=False, fault=answer.fault)
    if 200 <= answer.status < 300:
        return DELIVERED
    if answer.status == GONE:
        return Outcome(ok=False, fault="The receiver says that it is gone (410).", final=True, gone=True)
    if 300 <= answer.status < 400:
        return Outcome(ok=False, fault=f"It answered with a redirect ({answer.status}), which is never followed.")
    return Outcome(ok=False, fault=f"It answered {answer.status}.")
