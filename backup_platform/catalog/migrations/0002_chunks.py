"""The chunk tables, laid out for a billion rows: by hand, since the ORM knows neither partitions nor composite keys here."""

from typing import ClassVar

from django.db import migrations

PARTITIONS = 64

CREATE_CHUNKS = """
CREATE TABLE catalog_chunk (
    vault bigint NOT NULL,
    id bytea NOT NULL CHECK (octet_length(id) = 32),
    number bigint NOT NULL,
    pack bigint NOT NULL,
    "offset" bigint NOT NULL,
    length integer NOT NULL,
    uploader uuid NOT NULL,
    kind smallint NOT NULL,
    state smallint NOT NULL DEFAULT 0,
    PRIMARY KEY (vault, id),
    UNIQUE (vault, number)
) PARTITION BY HASH (vault)
"""
CREATE_PARTITION = (
    "CREATE TABLE catalog_chunk_{0:02d} PARTITION OF catalog_chunk FOR VALUES WITH (MODULUS {1}, REMAINDER {0})"
)
CREATE_OTHERS = """
CREATE INDEX catalog_chunk_pack ON catalog_chunk (pack);
CREATE TABLE catalog_arrival (
    vault bigint NOT NULL,
    id bytea NOT NULL CHECK (octet_length(id) = 32),
    kind smallint NOT NULL,
    session uuid NOT NULL,
    pack bigint NOT NULL,
    "offset" bigint NOT NULL,
    length integer NOT NULL,
    PRIMARY KEY (vault, id, pack, "offset")
);
CREATE INDEX catalog_arrival_pack ON catalog_arrival (pack);
CREATE TABLE catalog_spare (
    vault bigint NOT NULL,
    id bytea NOT NULL CHECK (octet_length(id) = 32),
    pack bigint NOT NULL,
    "offset" bigint NOT NULL,
    length integer NOT NULL,
    PRIMARY KEY (vault, id, pack, "offset")
);
CREATE INDEX catalog_spare_pack ON catalog_spare (pack);
"""
DROP = "DROP TABLE catalog_chunk, catalog_arrival, catalog_spare"


class Migration(migrations.Migration):
    dependencies: ClassVar = [("catalog", "0001_initial")]

    operations: ClassVar = [
        migrations.RunSQL(
            [CREATE_CHUNKS, *(CREATE_PARTITION.format(i, PARTITIONS) for i in range(PARTITIONS)), CREATE_OTHERS], DROP
        ),
    ]
