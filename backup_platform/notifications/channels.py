"""Making, changing, testing and removing channels. Their secrets go in here and never come out again."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.utils import timezone

from backup_platform.audit.services import record as record_audit
from backup_platform.notifications import other_services, webhook
from backup_platform.notifications.messages import message_of
from backup_platform.notifications.models import Channel, Delivery
from backup_platform.notifications.outcomes import Outcome
from backup_platform.notifications.safe_http import UrlRefused, check_url
from backup_platform.notifications.secret_box import SecretUnreadable, open_sealed, seal
from backup_platform.notifications.sending import route_of, send_all
from backup_platform.notifications.words import ChannelKind, DeliveryState, Event
from backup_platform.safe_addresses import AddressRefused, networks, resolve

MAX_ADDRESSES = 20
MAX_TESTS = 30
"""Tests of a tenant within an hour: the button is no way to fill somebody's mailbox."""


class ChannelRefused(ValueError):
    """A channel cannot be like this; the text says why and what to change, and holds no secret."""


def check_email(text: str) -> list[str]:
    """The addresses in a text, one a line or between commas. Raises ChannelRefused."""
    found = [part.strip() for line in text.splitlines() for part in line.split(",") if part.strip()]
    if not found or len(found) > MAX_ADDRESSES:
        raise ChannelRefused(f"Write one to {MAX_ADDRESSES} e-mail addresses, one a line.")
    for address in found:
        try:
            validate_email(address)
        except ValidationError:
            raise ChannelRefused(f"{address!r} is not an e-mail address.") from None
    return list(dict.fromkeys(found))


def check_webhook(url: str) -> str:
    """What may be shown of a webhook's address: its host. Raises ChannelRefused for one that may not be used."""
    try:
        parts = check_url(url, may_be_plain=True)
        target = resolve(str(parts.hostname), parts.port or 443, networks(settings.STRONGROOM_WEBHOOK_NETWORKS))
        if parts.scheme == "http" and not target.inside:
            raise UrlRefused("The address must begin with https://: alerts are not sent in clear.")
    except (UrlRefused, AddressRefused) as fault:
        raise ChannelRefused(str(fault)) from None
    return f"{parts.scheme}://{urlsplit(url).hostname}/…"


def check_service(url: str) -> str:
    """What may be shown of an apprise address: its service. Raises ChannelRefused."""
    try:
        return f"{other_services.check_address(url)}://…"
    except other_services.ServiceRefused as fault:
        raise ChannelRefused(str(fault)) from None


def set_way(channel: Channel, address: str) -> str:
    """Set where a channel leads, in the object only; returns a webhook's new signing key when one was made.

    `address` is the e-mail addresses, the webhook's URL, or the apprise address. An empty one keeps what is there.
    Raises ChannelRefused.
    """
    held = _held(channel)
    if not address.strip():
        if not channel.settings:
            raise ChannelRefused("Say where messages are to go.")
        return ""
    fresh = ""
    if channel.kind == ChannelKind.EMAIL:
        channel.settings, held = {"to": check_email(address)}, {}
    elif channel.kind == ChannelKind.WEBHOOK:
        channel.settings = {"shown": check_webhook(address.strip())}
        fresh = "" if held.get("key") else webhook.new_key()
        held = {**held, "url": address.strip(), "key": held.get("key") or fresh}
    else:
        channel.settings, held = {"shown": check_service(address)}, {"url": address.strip()}
    channel.sealed = seal(channel.pk, held) if held else b""
    return fresh


def save_channel(channel: Channel, *, actor: str) -> None:
    """Keep a channel, new or changed."""
    with transaction.atomic():
        new = not Channel.objects.filter(pk=channel.pk).exists()
        if new:
            channel.created_by = actor[:200]
        channel.save()
        _note("channel.added" if new else "channel.changed", channel, actor, level=channel.lowest_level,
              leads_to=channel.settings)  # fmt: skip


def remove_channel(channel: Channel, *, actor: str) -> None:
    """Remove a channel with its deliveries, sent or not."""
    with transaction.atomic():
        _note("channel.removed", channel, actor)
        channel.delete()


def pause_channel(channel: Channel, *, actor: str) -> None:
    """Tell nothing there until it is resumed: what waits is kept, what happens meanwhile is not told there later."""
    _set(channel, actor, "channel.paused", paused_at=timezone.now(), pause_reason=f"By {actor}"[:200])


def resume_channel(channel: Channel, *, actor: str) -> None:
    """Tell there again."""
    _set(channel, actor, "channel.resumed", paused_at=None, pause_reason="")


def rotate_key(channel: Channel, *, actor: str) -> str:
    """A new signing key of a webhook, to be shown once; for a day the former one signs as well."""
    if channel.kind != ChannelKind.WEBHOOK:
        raise ChannelRefused("Only webhooks are signed.")
    fresh = webhook.new_key()
    _set(channel, actor, "channel.key_changed", sealed=seal(channel.pk, webhook.rotated(_held(channel), fresh)))
    return fresh


def check_channel(channel: Channel, *, actor: str) -> Outcome:
    """The Test button: one real delivery through the real channel, now, whatever its level and kinds; its result."""
    now = timezone.now()
    tests = Delivery.objects.filter(tenant=channel.tenant_id, event=Event.TEST)
    if tests.filter(created_at__gt=now - timedelta(hours=1)).count() >= MAX_TESTS:
        return Outcome(ok=False, fault=f"There were {MAX_TESTS} tests within an hour: wait a while.")
    with transaction.atomic():
        _note("channel.tested", channel, actor)
        delivery = Delivery.objects.create(
            tenant_id=channel.tenant_id, channel=channel, event=Event.TEST, state=DeliveryState.SENDING, attempts=1,
            lease_until=now + timedelta(minutes=5), lease_owner="test",
        )  # fmt: skip
    outcome = _try(lambda: send_all(route_of(channel), [message_of(delivery, "")], time.monotonic())[0])
    Delivery.objects.filter(pk=delivery.pk).update(
        state=DeliveryState.DELIVERED if outcome.ok else DeliveryState.FAILED,
        delivered_at=timezone.now() if outcome.ok else None,
        last_error=outcome.fault[:300],
        lease_until=None,
        lease_owner="",
    )
    return outcome


def _try(send: Callable[[], Outcome | None]) -> Outcome:
    try:
        return send() or Outcome(ok=False, fault="It was not tried.")
    except SecretUnreadable as fault:
        return Outcome(ok=False, fault=str(fault))


def _held(channel: Channel) -> dict[str, Any]:
    """A channel's secrets; none when they cannot be opened any more: then they are entered anew."""
    try:
        return open_sealed(channel.pk, bytes(channel.sealed))
    except SecretUnreadable:
        return {}


def _set(channel: Channel, actor: str, verb: str, **changes: Any) -> None:
    with transaction.atomic():
        Channel.objects.filter(pk=channel.pk).update(**changes)
        _note(verb, channel, actor)


def _note(verb: str, channel: Channel, actor: str, **detail: Any) -> None:
    record_audit(verb, actor=actor, object=f"channel:{channel.pk}", tenant=channel.tenant_id, name=channel.name,
                 kind=channel.kind, **detail)  # fmt: skip
