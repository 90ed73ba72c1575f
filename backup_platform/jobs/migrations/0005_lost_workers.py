from django.db import migrations, models


class Migration(migrations.Migration):
    """Deaths of a worker are counted apart from attempts that failed."""

    dependencies = [
        ("jobs", "0004_declined_since"),
    ]

    operations = [
        migrations.AddField(
            model_name="job",
            name="lost",
            field=models.PositiveSmallIntegerField(
                db_default=0, default=0, help_text="Times in a row that its worker died; these count as no attempts."
            ),
        ),
    ]
