import django.db.models.deletion
from django.db import migrations, models

END_SETTLED_SESSIONS = """
    UPDATE catalog_session SET state = 'ended'
     WHERE state = 'committed'
       AND EXISTS (SELECT 1 FROM catalog_snapshot s WHERE s.session_id = catalog_session.id)
       AND NOT EXISTS (SELECT 1 FROM catalog_snapshot s WHERE s.session_id = catalog_session.id AND s.bitmap IS NULL)
"""


class Migration(migrations.Migration):
    dependencies = [
        ("catalog", "0003_copies_and_expiry"),
        ("fleet", "0003_groups_and_presence"),
        ("policies", "0003_plan_schedule"),
        ("tenants", "0002_roles_and_limits"),
        ("vaults", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="pack",
            name="replaced_by",
            field=models.ForeignKey(
                blank=True,
                help_text="The pack that compaction moved its records to.",
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="catalog.pack",
            ),
        ),
        migrations.AddField(
            model_name="snapshot",
            name="objects_gone_at",
            field=models.DateTimeField(
                blank=True, help_text="When the root of a reclaimed one was removed from every target.", null=True
            ),
        ),
        migrations.AddIndex(
            model_name="snapshot",
            index=models.Index(
                condition=models.Q(("proven_at__isnull", False)),
                fields=["machine", "policy", "-proven_at"],
                name="snapshot_proven",
            ),
        ),
        migrations.AddIndex(
            model_name="snapshot",
            index=models.Index(
                condition=models.Q(("objects_gone_at__isnull", True), ("state", "reclaimed")),
                fields=["vault"],
                name="snapshot_leaving",
            ),
        ),
        migrations.CreateModel(
            name="Publication",
            fields=[
                (
                    "id",
                    models.UUIDField(editable=False, help_text="The snapshot's id.", primary_key=True, serialize=False),
                ),
                ("sequence", models.BigIntegerField()),
                ("at", models.DateTimeField(auto_now=True)),
                (
                    "machine",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="fleet.machine"
                    ),
                ),
                (
                    "session",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="catalog.session"
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.tenant"
                    ),
                ),
                (
                    "vault",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="vaults.vault"),
                ),
            ],
            options={
                "ordering": ["at"],
                "base_manager_name": "objects",
            },
        ),
        migrations.RunSQL(END_SETTLED_SESSIONS, migrations.RunSQL.noop),
    ]
