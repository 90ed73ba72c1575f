"""Quotas of a tenant, and the count of what it stores, which the database itself keeps.

Packs come, grow and go in many places (sealing, compaction, reclaim, healing, rebuilding). A trigger notes each change
of a pack's bytes as a row of its own, so that two of them never wait for each other; tenants/stored.py adds the rows
up. Emptying the table of packs, which only the owner may do, empties the count as well.
"""

from django.db import migrations, models

COUNT = """
CREATE TABLE tenants_stored (tenant uuid PRIMARY KEY, bytes bigint NOT NULL);
CREATE TABLE tenants_stored_change (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant uuid NOT NULL,
    bytes bigint NOT NULL
);
CREATE INDEX tenants_stored_change_tenant ON tenants_stored_change (tenant);

CREATE FUNCTION tenants_note_stored() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before bigint := 0;
    after bigint := 0;
BEGIN
    IF TG_OP <> 'INSERT' AND OLD.place NOT IN ('gone', 'lost') THEN
        before := OLD.bytes;
    END IF;
    IF TG_OP <> 'DELETE' AND NEW.place NOT IN ('gone', 'lost') THEN
        after := NEW.bytes;
    END IF;
    IF after <> before THEN
        INSERT INTO tenants_stored_change (tenant, bytes)
        VALUES (CASE TG_OP WHEN 'DELETE' THEN OLD.tenant_id ELSE NEW.tenant_id END, after - before);
    END IF;
    RETURN NULL;
END
$$;
CREATE FUNCTION tenants_forget_stored() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM tenants_stored;
    DELETE FROM tenants_stored_change;
    RETURN NULL;
END
$$;
CREATE TRIGGER pack_is_counted AFTER INSERT OR DELETE ON catalog_pack
    FOR EACH ROW EXECUTE FUNCTION tenants_note_stored();
CREATE TRIGGER pack_is_counted_again AFTER UPDATE OF bytes, place ON catalog_pack
    FOR EACH ROW WHEN (OLD.bytes <> NEW.bytes OR OLD.place <> NEW.place) EXECUTE FUNCTION tenants_note_stored();
CREATE TRIGGER packs_are_forgotten AFTER TRUNCATE ON catalog_pack
    FOR EACH STATEMENT EXECUTE FUNCTION tenants_forget_stored();

INSERT INTO tenants_stored (tenant, bytes)
SELECT tenant_id, sum(bytes) FROM catalog_pack WHERE place NOT IN ('gone', 'lost') GROUP BY tenant_id;
"""
COUNT_NO_MORE = """
DROP TRIGGER pack_is_counted ON catalog_pack;
DROP TRIGGER pack_is_counted_again ON catalog_pack;
DROP TRIGGER packs_are_forgotten ON catalog_pack;
DROP FUNCTION tenants_note_stored();
DROP FUNCTION tenants_forget_stored();
DROP TABLE tenants_stored, tenants_stored_change;
"""


class Migration(migrations.Migration):
    dependencies = [("tenants", "0002_roles_and_limits"), ("catalog", "0005_names")]

    operations = [
        migrations.AddField(
            model_name="tenant",
            name="quota_bytes",
            field=models.BigIntegerField(
                blank=True,
                help_text="Bytes of sealed packs. Empty: no limit.",
                null=True,
                verbose_name="quota of stored data",
            ),
        ),
        migrations.AddField(
            model_name="tenant",
            name="quota_machines",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Enrolled at the same time. Empty: no limit.",
                null=True,
                verbose_name="quota of machines",
            ),
        ),
        migrations.AddConstraint(
            model_name="tenant",
            constraint=models.CheckConstraint(
                condition=models.Q(("quota_bytes__isnull", True), ("quota_bytes__gt", 0), _connector="OR"),
                name="quota_of_bytes",
            ),
        ),
        migrations.RunSQL(COUNT, COUNT_NO_MORE),
    ]
