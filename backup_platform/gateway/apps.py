"""The app that holds `run_gateway`."""

from __future__ import annotations

from django.apps import AppConfig


class GatewayConfig(AppConfig):
    """No models: sockets, a spool, and calls to the other apps' services."""

    name = "backup_platform.gateway"
    label = "gateway"
