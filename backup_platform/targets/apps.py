from django.apps import AppConfig


class TargetsConfig(AppConfig):
    name = "backup_platform.targets"
    label = "targets"
    verbose_name = "Storage"
    default_auto_field = "django.db.models.BigAutoField"
