from django.db import migrations, models


class Migration(migrations.Migration):
    """Backups are looked up by machine and policy, never by subject: a tick that makes thousands leaves this alone."""

    dependencies = [
        ("jobs", "0005_lost_workers"),
    ]

    operations = [
        migrations.RemoveIndex(model_name="job", name="job_subject"),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("kind", "backup"), _negated=True), fields=["subject"], name="job_subject"
            ),
        ),
    ]
