from django.db import migrations, models


class Migration(migrations.Migration):
    """Whether a pause of reclaim is the platform's people's own. Those from before are: they were made by a command."""

    dependencies = [("upkeep", "0002_names")]

    operations = [
        migrations.AddField(
            model_name="reclaimpause",
            name="by_staff",
            field=models.BooleanField(
                default=True, help_text="The platform's people paused it: they alone end it, and its reason is theirs."
            ),
        ),
    ]
