from django.apps import AppConfig


class VaultsConfig(AppConfig):
    name = "backup_platform.vaults"
    label = "vaults"
    default_auto_field = "django.db.models.BigAutoField"
