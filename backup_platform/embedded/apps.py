"""The app that holds `up` and `demo`, and keeps the database's two roles apart after each migration."""

from __future__ import annotations

from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate


class EmbeddedConfig(AppConfig):
    """No models: processes, servers and database roles."""

    name = "backup_platform.embedded"
    label = "embedded"

    def ready(self) -> None:
        """Grant after every migration: new tables appear without rights for the application role."""
        from backup_platform.embedded.database_roles import grant_application_role

        # Django sends the signal for apps with models only, and for all of them after the last migration.
        sender = apps.get_app_config("contenttypes")
        post_migrate.connect(grant_application_role, sender=sender, dispatch_uid="embedded.grant_application_role")
