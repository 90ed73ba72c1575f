from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [
        ("retention", "0002_names"),
    ]

    operations = [
        migrations.CreateModel(
            name="ClockWatch",
            fields=[
                (
                    "id",
                    models.PositiveSmallIntegerField(default=1, editable=False, primary_key=True, serialize=False),
                ),
                ("seen_at", models.DateTimeField()),
                ("rests_until", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "verbose_name_plural": "clock watch",
                "constraints": [models.CheckConstraint(condition=Q(("id", 1)), name="one_row_of_clock_watch")],
            },
        ),
    ]
