"""What the application role may do: work with rows, never with the schema, and never rewrite the audit."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import connections
from psycopg import sql

# Append only: the application role can write and read these tables, and change nothing that stands in them.
APPEND_ONLY_TABLES = ("audit_entry",)


def grant_application_role(*, using: str, **_: Any) -> None:
    """post_migrate receiver: bring the application role's rights up to date, as the owner of the tables.

    Does nothing where one role does both (a small test database); says nothing about rights on other schemas.
    """
    role = settings.DATABASE_APPLICATION_ROLE
    connection = connections[using]
    if connection.vendor != "postgresql" or role in {"", connection.settings_dict["USER"]}:
        return
    with connection.cursor() as cursor:
        for statement in _statements(role, set(connection.introspection.table_names(cursor))):
            cursor.execute(statement)


def _statements(role: str, tables: set[str]) -> list[sql.Composed]:
    name = sql.Identifier(role)
    statements = [
        sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(name),
        sql.SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {}").format(name),
        sql.SQL("GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {}").format(name),
    ]
    for table in APPEND_ONLY_TABLES:
        if table in tables:
            revoke = sql.SQL("REVOKE UPDATE, DELETE, TRUNCATE ON {} FROM {}")
            statements.append(revoke.format(sql.Identifier(table), name))
    return statements
