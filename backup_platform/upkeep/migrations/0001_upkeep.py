import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("catalog", "0004_reclaim"),
        ("targets", "0001_targets"),
        ("tenants", "0002_roles_and_limits"),
        ("vaults", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="ReclaimPause",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("reason", models.CharField(blank=True, default="", max_length=300)),
                ("by", models.CharField(max_length=200)),
                ("since", models.DateTimeField(auto_now_add=True)),
                (
                    "tenant",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "ordering": ["since"],
                "base_manager_name": "objects",
            },
        ),
        migrations.CreateModel(
            name="ReclaimRound",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("number", models.PositiveIntegerField(help_text="Of the vault, from 1.")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("marking", "Marking"),
                            ("condemned", "Waiting for sessions"),
                            ("removing", "Removing"),
                            ("done", "Done"),
                            ("stopped", "Stopped"),
                        ],
                        default="marking",
                        max_length=16,
                    ),
                ),
                ("started_at", models.DateTimeField(auto_now_add=True)),
                ("condemned_at", models.DateTimeField(blank=True, null=True)),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
                (
                    "position",
                    models.BigIntegerField(default=0, help_text="The chunk number that the phase has come to."),
                ),
                (
                    "end",
                    models.BigIntegerField(
                        default=0, help_text="Chunks from this number on came after the round began."
                    ),
                ),
                ("snapshots", models.PositiveIntegerField(default=0, help_text="Snapshots whose needs counted.")),
                (
                    "all_snapshots",
                    models.PositiveIntegerField(default=0, help_text="Rows of snapshots in the vault, in any state."),
                ),
                (
                    "retired",
                    models.PositiveIntegerField(default=0, help_text="Expired snapshots whose needs stopped counting."),
                ),
                ("condemned", models.BigIntegerField(default=0)),
                ("condemned_bytes", models.BigIntegerField(default=0)),
                (
                    "revived",
                    models.BigIntegerField(default=0, help_text="Condemned chunks that were needed, or came, again."),
                ),
                ("removed", models.BigIntegerField(default=0)),
                ("removed_bytes", models.BigIntegerField(default=0)),
                ("packs", models.PositiveIntegerField(default=0, help_text="Packs that nothing names any more.")),
                ("pack_bytes", models.BigIntegerField(default=0)),
                (
                    "sessions",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.UUIDField(),
                        blank=True,
                        default=list,
                        help_text="Open when the last chunk was condemned.",
                        size=None,
                    ),
                ),
                (
                    "unsettled",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.UUIDField(),
                        blank=True,
                        default=list,
                        help_text="Snapshots that had no bitmap then.",
                        size=None,
                    ),
                ),
                ("waits_for", models.CharField(blank=True, default="", max_length=300)),
                ("fault", models.CharField(blank=True, default="", max_length=500)),
                (
                    "accepted_by",
                    models.CharField(
                        blank=True,
                        default="",
                        help_text="Who said that a loss of snapshots is as it should be.",
                        max_length=200,
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="tenants.tenant"
                    ),
                ),
                (
                    "vault",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="reclaim_rounds",
                        to="vaults.vault",
                    ),
                ),
            ],
            options={
                "ordering": ["-started_at"],
                "base_manager_name": "objects",
            },
        ),
        migrations.CreateModel(
            name="ScrubSettings",
            fields=[
                (
                    "id",
                    models.PositiveSmallIntegerField(default=1, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "every_days",
                    models.PositiveSmallIntegerField(
                        default=30,
                        help_text="Each copy of everything is read once in so many days.",
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(3650),
                        ],
                    ),
                ),
                (
                    "from_hour",
                    models.PositiveSmallIntegerField(
                        default=0,
                        help_text="From this hour of the day (UTC) …",
                        validators=[django.core.validators.MaxValueValidator(23)],
                    ),
                ),
                (
                    "to_hour",
                    models.PositiveSmallIntegerField(
                        default=0,
                        help_text="… to this one. The same hour twice: all day.",
                        validators=[django.core.validators.MaxValueValidator(23)],
                    ),
                ),
                (
                    "mib_per_second",
                    models.PositiveIntegerField(
                        default=64,
                        help_text="At most so much is read in a second, all together. 0: as fast as it goes.",
                        validators=[django.core.validators.MaxValueValidator(100000)],
                    ),
                ),
                (
                    "at_once",
                    models.PositiveSmallIntegerField(
                        default=2,
                        help_text="How many copies are read side by side.",
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(16),
                        ],
                    ),
                ),
                (
                    "paused",
                    models.BooleanField(
                        default=False, help_text="Nothing is scrubbed by itself until this is off again."
                    ),
                ),
                ("changed_by", models.CharField(blank=True, default="", editable=False, max_length=200)),
                ("changed_at", models.DateTimeField(blank=True, editable=False, null=True)),
            ],
            options={
                "verbose_name_plural": "scrub settings",
            },
        ),
        migrations.CreateModel(
            name="HomeParity",
            fields=[
                (
                    "pack",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="home_parity",
                        serialize=False,
                        to="catalog.pack",
                    ),
                ),
                ("bytes", models.BigIntegerField()),
                ("made_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("checked_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "base_manager_name": "objects",
            },
        ),
        migrations.CreateModel(
            name="ScrubFinding",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("pack", "Pack"),
                            ("copy", "Copy of a pack"),
                            ("parity", "Parity"),
                            ("object", "Object of a snapshot"),
                            ("record", "Standing record"),
                        ],
                        max_length=16,
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("open", "To be healed"),
                            ("healed", "Healed"),
                            ("lost", "Not to be healed from what is stored"),
                        ],
                        default="open",
                        max_length=16,
                    ),
                ),
                (
                    "subject",
                    models.CharField(help_text="pack:<id>, copy:<id>, snapshot:<id>, vault:<id>.", max_length=100),
                ),
                ("key", models.CharField(blank=True, default="", max_length=400)),
                ("fault", models.CharField(max_length=500)),
                ("records", models.PositiveIntegerField(default=0, help_text="Records that were damaged.")),
                ("how", models.CharField(blank=True, default="", help_text="What it was healed from.", max_length=200)),
                ("found_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("seen_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("count", models.PositiveIntegerField(default=1)),
                ("healed_at", models.DateTimeField(blank=True, null=True)),
                (
                    "pack",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="catalog.pack",
                    ),
                ),
                (
                    "target",
                    models.ForeignKey(
                        blank=True,
                        help_text="Empty: the home directory.",
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="targets.target",
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
                "ordering": ["-found_at"],
                "base_manager_name": "objects",
            },
        ),
        migrations.CreateModel(
            name="ScrubMark",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("checked_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "snapshot",
                    models.OneToOneField(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="scrub_mark",
                        to="catalog.snapshot",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.tenant"
                    ),
                ),
                (
                    "vault",
                    models.OneToOneField(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="scrub_mark",
                        to="vaults.vault",
                    ),
                ),
            ],
            options={
                "ordering": ["checked_at"],
                "base_manager_name": "objects",
            },
        ),
        migrations.AddConstraint(
            model_name="reclaimpause",
            constraint=models.UniqueConstraint(
                fields=("tenant",), name="one_reclaim_pause_per_tenant", nulls_distinct=False
            ),
        ),
        migrations.AddConstraint(
            model_name="reclaimround",
            constraint=models.UniqueConstraint(fields=("vault", "number"), name="one_reclaim_round_per_number"),
        ),
        migrations.AddConstraint(
            model_name="reclaimround",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state__in", ["marking", "condemned", "removing"])),
                fields=("vault",),
                name="one_unfinished_reclaim_round",
            ),
        ),
        migrations.AddConstraint(
            model_name="reclaimround",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["marking", "condemned", "removing", "done", "stopped"])),
                name="known_reclaim_state",
            ),
        ),
        migrations.AddConstraint(
            model_name="scrubsettings",
            constraint=models.CheckConstraint(condition=models.Q(("id", 1)), name="one_row_of_scrub_settings"),
        ),
        migrations.AddIndex(
            model_name="scrubfinding",
            index=models.Index(fields=["state", "-found_at"], name="finding_state_found"),
        ),
        migrations.AddConstraint(
            model_name="scrubfinding",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state", "healed"), _negated=True),
                fields=("subject", "target", "key"),
                name="one_open_finding",
                nulls_distinct=False,
            ),
        ),
        migrations.AddConstraint(
            model_name="scrubfinding",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", ["pack", "copy", "parity", "object", "record"])),
                name="known_finding_kind",
            ),
        ),
        migrations.AddConstraint(
            model_name="scrubfinding",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["open", "healed", "lost"])), name="known_finding_state"
            ),
        ),
        migrations.AddConstraint(
            model_name="scrubmark",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("snapshot__isnull", False), ("vault__isnull", True)),
                    models.Q(("snapshot__isnull", True), ("vault__isnull", False)),
                    _connector="OR",
                ),
                name="scrub_mark_has_one_subject",
            ),
        ),
    ]
