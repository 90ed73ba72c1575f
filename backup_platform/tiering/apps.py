from django.apps import AppConfig


class TieringConfig(AppConfig):
    name = "backup_platform.tiering"
    label = "tiering"
    verbose_name = "Storage"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """The catalogue does not know of tiering; what it commits is heard of by signal, in the same transaction."""
        from django.db.models.signals import post_save

        from backup_platform.catalog.models import Snapshot
        from backup_platform.tiering.asking import committed

        post_save.connect(committed, sender=Snapshot, dispatch_uid="tiering-committed")
