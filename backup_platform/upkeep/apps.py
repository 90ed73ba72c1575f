from django.apps import AppConfig


class UpkeepConfig(AppConfig):
    name = "backup_platform.upkeep"
    label = "upkeep"
    verbose_name = "Storage"
    default_auto_field = "django.db.models.BigAutoField"
