import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    """Settings that many plans share get a table of their own, and a tick changes plans without touching an index.

    Plans are derived: those that stand lose their settings here, and are made again within a minute, as their basis is
    of older rules.
    """

    dependencies = [
        ("tenants", "0002_roles_and_limits"),
        ("policies", "0003_plan_schedule"),
    ]

    operations = [
        migrations.CreateModel(
            name="PlanSettings",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("digest", models.CharField(help_text="Of `values`, as JSON.", max_length=64)),
                ("values", models.JSONField(default=dict, help_text="The effective settings, as computed.")),
                (
                    "schedule",
                    models.TextField(
                        blank=True, default="", help_text="Of these, what decides times, as the tick reads it."
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "plan settings",
                "base_manager_name": "objects",
            },
        ),
        migrations.AddConstraint(
            model_name="plansettings",
            constraint=models.UniqueConstraint(fields=("tenant", "digest"), name="plan_settings_once_per_tenant"),
        ),
        migrations.RemoveIndex(model_name="plan", name="plan_due"),
        migrations.RemoveField(model_name="plan", name="settings"),
        migrations.RemoveField(model_name="plan", name="schedule"),
        migrations.AddField(
            model_name="plan",
            name="shared",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="plans",
                to="policies.plansettings",
            ),
        ),
        migrations.AlterField(
            model_name="plan",
            name="policy",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="plans",
                to="policies.policy",
            ),
        ),
        # Room in each page for the next version of its rows.
        migrations.RunSQL(
            "ALTER TABLE policies_plan SET (fillfactor = 45)", "ALTER TABLE policies_plan RESET (fillfactor)"
        ),
    ]
