from django.db import migrations, models

STATES = ["new", "active", "paused", "draining", "retired"]


class Migration(migrations.Migration):
    """A target is *new* until it was probed, and not used before."""

    dependencies = [("targets", "0001_targets")]

    operations = [
        migrations.RemoveConstraint(model_name="target", name="known_target_state"),
        migrations.AlterField(
            model_name="target",
            name="state",
            field=models.CharField(
                choices=[
                    ("new", "Waits for its probe"),
                    ("active", "Active"),
                    ("paused", "Paused"),
                    ("draining", "Draining"),
                    ("retired", "Retired"),
                ],
                default="active",
                max_length=16,
            ),
        ),
        migrations.AddConstraint(
            model_name="target",
            constraint=models.CheckConstraint(condition=models.Q(("state__in", STATES)), name="known_target_state"),
        ),
    ]
