"""The secrets of channels at rest: the shared box, in a use of its own."""

from __future__ import annotations

from backup_platform.secret_box import SecretBox, SecretUnreadable

__all__ = ["CHANNELS", "SecretUnreadable", "open_sealed", "seal"]

CHANNELS = SecretBox("strongroom/v1/notification-channel", "The channel's secret")
seal = CHANNELS.seal
open_sealed = CHANNELS.open
