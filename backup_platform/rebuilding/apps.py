from django.apps import AppConfig


class RebuildingConfig(AppConfig):
    """Makes the catalogue again from a store; has no tables."""

    name = "backup_platform.rebuilding"
    label = "rebuilding"
