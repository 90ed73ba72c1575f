import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    """Since when a job is declined; and two indexes go that others begin with, as each costs every tick."""

    dependencies = [
        ("fleet", "0003_groups_and_presence"),
        ("jobs", "0003_limits_and_gateways"),
        ("policies", "0004_plan_settings"),
    ]

    operations = [
        migrations.AddField(
            model_name="job",
            name="declined_since",
            field=models.DateTimeField(
                blank=True, help_text="Since when its machine has not taken it, though it was offered.", null=True
            ),
        ),
        migrations.AlterField(
            model_name="job",
            name="machine",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                help_text="Who does it: jobs with a machine are offered to its agent, all others are done by workers.",
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="jobs",
                to="fleet.machine",
            ),
        ),
        migrations.AlterField(
            model_name="job",
            name="policy",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="jobs",
                to="policies.policy",
            ),
        ),
    ]
