from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("policies", "0002_plan_zone_and_basis"),
    ]

    operations = [
        migrations.AddField(
            model_name="plan",
            name="schedule",
            field=models.TextField(
                blank=True, default="", help_text="Of these, what decides times, as the tick reads it."
            ),
        ),
    ]
