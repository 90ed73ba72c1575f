from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    name = "backup_platform.console"
    label = "console"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self):
        """Note sign-ins from the first request on."""
        from backup_platform.console import sign_ins

        sign_ins.connect()
