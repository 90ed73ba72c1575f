"""Tier rules, files that wait to be unlinked, and targets that are waited for."""

from typing import ClassVar

import django.core.validators
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies: ClassVar = [
        ("catalog", "0003_copies_and_expiry"),
        ("targets", "0001_targets"),
        ("tenants", "0002_roles_and_limits"),
    ]

    operations: ClassVar = [
        migrations.CreateModel(
            name="Leftover",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("key", models.CharField(max_length=400)),
                ("unlink_at", models.DateTimeField()),
                (
                    "pack",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="catalog.pack"
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.tenant"
                    ),
                ),
            ],
            options={
                "ordering": ["unlink_at"],
                "base_manager_name": "objects",
                "indexes": [models.Index(fields=["unlink_at"], name="leftover_unlink")],
            },
        ),
        migrations.CreateModel(
            name="Patience",
            fields=[
                (
                    "target",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="targets.target",
                    ),
                ),
                ("failures", models.PositiveIntegerField(default=0)),
                ("next_try_at", models.DateTimeField()),
            ],
            options={"verbose_name_plural": "patience", "base_manager_name": "objects"},
        ),
        migrations.CreateModel(
            name="TierRule",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "copy_when",
                    models.CharField(
                        choices=[
                            ("verified", "As soon as it is verified"),
                            ("days", "Some days after it was verified"),
                            ("watermark", "When the home directory is over its watermark"),
                        ],
                        default="verified",
                        max_length=16,
                    ),
                ),
                (
                    "copy_days",
                    models.PositiveIntegerField(default=0, validators=[django.core.validators.MaxValueValidator(3660)]),
                ),
                (
                    "at_once",
                    models.BooleanField(
                        default=False,
                        help_text="Copy small packs too as soon as they are due. Otherwise packs under 16 MiB wait for "
                        "up to 24 hours, so that they are joined first.",
                    ),
                ),
                (
                    "evict_when",
                    models.CharField(
                        choices=[
                            ("never", "Never"),
                            ("days", "Some days after it was verified"),
                            ("watermark", "When the home directory is over its watermark"),
                        ],
                        default="never",
                        max_length=16,
                    ),
                ),
                (
                    "evict_days",
                    models.PositiveIntegerField(default=0, validators=[django.core.validators.MaxValueValidator(3660)]),
                ),
                (
                    "min_copies",
                    models.PositiveSmallIntegerField(
                        default=1,
                        help_text="So many good copies at targets must have been read back before the local one goes.",
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(10),
                        ],
                    ),
                ),
                ("paused_at", models.DateTimeField(blank=True, null=True)),
                ("created_by", models.CharField(blank=True, default="", max_length=200)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "target",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="tier_rules", to="targets.target"
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        blank=True,
                        help_text="Empty: for every tenant.",
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="tier_rules",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "ordering": ["pk"],
                "base_manager_name": "objects",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "target"),
                        name="one_tier_rule_per_tenant_and_target",
                        nulls_distinct=False,
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("copy_when__in", ["verified", "days", "watermark"])),
                        name="known_copy_when",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("evict_when__in", ["never", "days", "watermark"])),
                        name="known_evict_when",
                    ),
                    models.CheckConstraint(condition=models.Q(("min_copies__gte", 1)), name="evicting_needs_a_copy"),
                ],
            },
        ),
    ]
