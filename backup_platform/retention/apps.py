from django.apps import AppConfig


class RetentionConfig(AppConfig):
    name = "backup_platform.retention"
    label = "retention"
    verbose_name = "Storage"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Hear of policies that change."""
        from .watching import connect

        connect()
