"""Pages for alerts, channels, deliveries, snoozes and thresholds: parse, ask who may, call one service, render."""

from backup_platform.notifications.admin import alerts, channels, deliveries, quiet  # noqa: F401 - they register themselves
