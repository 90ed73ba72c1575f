"""What is said: one wording for people, one document for programs. Made from rows, without any secret."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.utils import timezone

from backup_platform.notifications.models import Alert, Delivery
from backup_platform.notifications.words import Event, Level

MAX_SUBJECT = 180
TEST_TEXT = "This is a test: the channel works."


@dataclass(frozen=True, slots=True)
class Message:
    """One delivery, ready to be sent by whatever channel."""

    uid: str
    title: str
    lines: tuple[str, ...]
    document: dict[str, Any]

    @property
    def text(self) -> str:
        """The lines as a text."""
        return "\n".join(self.lines)


def message_of(delivery: Delivery, tenant_name: str) -> Message:
    """The message of a delivery; of a test, when it has no alert. `tenant_name` "" means the platform itself."""
    alert = delivery.alert
    uid = delivery.uid.hex
    if alert is None:
        title = f"[Strongroom] Test of {delivery.channel.name}"
        return Message(uid, _one_line(title), (TEST_TEXT,), _document(delivery, None, tenant_name))
    return Message(uid, _title(delivery, alert, tenant_name), _lines(delivery, alert, tenant_name),
                   _document(delivery, alert, tenant_name))  # fmt: skip


def joined(messages: Sequence[Message]) -> tuple[str, str]:
    """The subject and text of one letter about one or several messages."""
    if len(messages) == 1:
        return messages[0].title, messages[0].text
    worst = max(int(message.document["data"].get("severity", 0)) for message in messages)
    title = f"[Strongroom] {len(messages)} messages, the worst: {Level(worst).label.lower() if worst else 'test'}"
    return _one_line(title), "\n\n----\n\n".join(f"{m.title}\n\n{m.text}" for m in messages)


def _title(delivery: Delivery, alert: Alert, tenant_name: str) -> str:
    word = {Event.RESOLVED: "Over", Event.REMINDER: "Still"}.get(Event(delivery.event), Level(alert.level).label)
    return _one_line(f"[Strongroom] {word}: {alert.text} ({tenant_name or 'platform'})")


def _lines(delivery: Delivery, alert: Alert, tenant_name: str) -> tuple[str, ...]:
    over = delivery.event == Event.RESOLVED
    lines = [f"It is over: {alert.text}" if over else alert.text]
    if over and alert.resolution:
        lines.append(alert.resolution)
    if not over and alert.advice:
        lines += ["", f"What to do: {alert.advice}"]
    lines += ["", f"For: {tenant_name or 'the platform itself'}", f"Kind: {alert.get_kind_display()}",
              f"Since: {alert.opened_at:%Y-%m-%d %H:%M} UTC"]  # fmt: skip
    if alert.count > 1:
        lines.append(f"Seen: {alert.count:,} times, last at {alert.last_seen_at:%Y-%m-%d %H:%M} UTC")
    if alert.resolved_at:
        lines.append(f"Over at: {alert.resolved_at:%Y-%m-%d %H:%M} UTC")
    if link := _link(alert):
        lines += ["", link]
    return tuple(lines)


def _document(delivery: Delivery, alert: Alert | None, tenant_name: str) -> dict[str, Any]:
    """The payload of a webhook: `{type, timestamp, data}`, as Standard Webhooks has it."""
    document: dict[str, Any] = {"type": f"alert.{delivery.event}", "timestamp": timezone.now().isoformat()}
    if alert is None:
        document["data"] = {"text": TEST_TEXT, "channel": delivery.channel.name}
        return document
    document["timestamp"] = (alert.resolved_at or alert.opened_at).isoformat()
    document["data"] = {
        "alert": str(alert.pk),
        "tenant": tenant_name or None,
        "tenant_id": str(alert.tenant_id) if alert.tenant_id else None,
        "kind": alert.kind,
        "subject": alert.subject,
        "level": Level(alert.level).word,
        "severity": alert.level,
        "text": alert.text,
        "advice": alert.advice,
        "count": alert.count,
        "opened_at": alert.opened_at.isoformat(),
        "last_seen_at": alert.last_seen_at.isoformat(),
        "resolved_at": alert.resolved_at.isoformat() if alert.resolved_at else None,
        "resolution": alert.resolution,
        "link": _link(alert) or None,
    }
    return document


def _link(alert: Alert) -> str:
    base = settings.STRONGROOM_CONSOLE_URL
    return f"{base}/admin/notifications/alert/{alert.pk}/change/" if base else ""


def _one_line(text: str) -> str:
    """Names come from machines: no line break of theirs may become a header."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:MAX_SUBJECT]
