from django.apps import AppConfig
from django.core import checks


class NotificationsConfig(AppConfig):
    name = "backup_platform.notifications"
    label = "notifications"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Have Django's checks of databases say what the alert says."""
        from backup_platform.durability import check_durability

        checks.register(check_durability, checks.Tags.database)
