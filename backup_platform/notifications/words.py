"""The fixed words of alerts and channels."""

from __future__ import annotations

from django.db import models


class Level(models.IntegerChoices):
    """How serious an alert is; a higher number is worse."""

    INFO = 10, "Info"
    WARNING = 20, "Warning"
    ERROR = 30, "Error"

    @classmethod
    def of(cls, word: str | int) -> Level:
        """The level named `info`, `warning` or `error`; KeyError for another word."""
        return cls(word) if isinstance(word, int) else cls[word.upper()]

    @property
    def word(self) -> str:
        """Its name in messages: info, warning, error."""
        return self.name.lower()


class AlertKind(models.TextChoices):
    """What can be wrong."""

    FAILED = "failed", "Job failed"
    WARNINGS = "warnings", "Done with warnings"
    MISSED = "missed", "Run missed"
    OVERDUE = "overdue", "Backup overdue"
    SILENT = "silent", "Machine silent"
    STALE = "stale", "No good backup of a machine"
    TENANT_STALE = "tenant_stale", "No good backup at all"
    DAMAGED = "damaged", "Snapshot damaged"
    WORK_FAILED = "work_failed", "Background work failed"
    DISK = "disk", "Disk nearly full"
    QUOTA = "quota", "Quota nearly used up"
    UNPROVEN = "unproven", "No drill has succeeded"
    TARGET = "target", "Target does not answer"
    COPIES = "copies", "Copies are behind"
    RECLAIM = "reclaim", "Reclaim has stopped"
    EXPIRY = "expiry", "Expiry waits for a person"
    CHANNEL = "channel", "Channel does not deliver"
    OTHER = "other", "Other"


class ChannelKind(models.TextChoices):
    """How a channel tells."""

    EMAIL = "email", "E-mail"
    WEBHOOK = "webhook", "Webhook"
    APPRISE = "apprise", "Another service (apprise)"


class Event(models.TextChoices):
    """What is told of an alert."""

    OPENED = "opened", "Opened"
    REMINDER = "reminder", "Reminder"
    RESOLVED = "resolved", "Resolved"
    TEST = "test", "Test"


class DeliveryState(models.TextChoices):
    """Where a delivery stands."""

    QUEUED = "queued", "Waiting"
    SENDING = "sending", "Being sent"
    DELIVERED = "delivered", "Delivered"
    FAILED = "failed", "Given up"
