"""When a copy was asked for from cold storage, and when it was seen to be readable."""

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [("catalog", "0005_names")]

    operations: ClassVar = [
        migrations.AddField(
            model_name="copy",
            name="thaw_asked_at",
            field=models.DateTimeField(blank=True, help_text="When cold storage was asked for it.", null=True),
        ),
        migrations.AddField(
            model_name="copy",
            name="thaw_for",
            field=models.CharField(
                blank=True, default="", help_text="On whose behalf it was asked for.", max_length=200
            ),
        ),
        migrations.AddField(
            model_name="copy",
            name="thaw_looked_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="copy",
            name="thawed_at",
            field=models.DateTimeField(blank=True, help_text="When it was seen that it can be read.", null=True),
        ),
    ]
