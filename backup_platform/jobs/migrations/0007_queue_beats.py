from django.db import migrations, models


class Migration(migrations.Migration):
    """The queue `tier` has workers of its own, which are watched for themselves."""

    dependencies = [
        ("jobs", "0006_subjects_of_workers_jobs"),
    ]

    operations = [
        migrations.CreateModel(
            name="QueueBeat",
            fields=[
                ("queue", models.CharField(max_length=32, primary_key=True, serialize=False)),
                ("seen_at", models.DateTimeField()),
            ],
        ),
    ]
